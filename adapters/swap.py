"""The hot swap: load beside what serves, prove it, repoint the alias, wait for the workers, drain, unload."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from adapters.artifacts import ArtifactStore
from adapters.engine import Engine
from adapters.errors import (
    AdaptersError,
    ConflictError,
    EngineError,
    IllegalTransition,
    NothingToRollBack,
    UnknownVersion,
    VersionLost,
    WorkersBehind,
    WorkersUnseen,
)
from adapters.guards import Guard
from adapters.holds import Holds
from adapters.loading import Drained, Loader, none_drained
from adapters.placement import Placing
from adapters.registry import Registry
from adapters.rules import TRANSITIONS
from adapters.stopwatch import Stopwatch
from adapters.types import Alias, AliasMove, Check, Version, VersionStatus

_LEASE_POLL_S = 0.02

Checks = Callable[[str, str], Awaitable[Sequence[Check]]]
"""Of a tenant's id and an adapter: what its versions must say before they take over."""


async def no_checks(_tenant_id: str, _adapter: str) -> Sequence[Check]:
    return ()


class Workers(Protocol):
    """The gateway workers as their heartbeats show them."""

    async def announce(self, change: int, move: AliasMove | None = None) -> None:
        """Tell every worker that the change log has reached this position, and by which move of an alias. May be lost:
        workers also poll."""

    async def wait_for(self, change: int, deadline_s: float) -> int:
        """Wait until every live worker serves this position; returns how many there are, 0 when none lives.

        Raises WorkersBehind when one of them still serves an older position at the deadline, or when that cannot
        be told (WorkersUnseen). A deadline of 0 looks once.
        """

    async def leases(self) -> Mapping[str, int]:
        """Requests in flight by version id, over all live workers; versions without any may be left out.

        Raises WorkersUnseen.
        """


@dataclass(frozen=True)
class SwapResult:
    """What a swap or rollback did, and how long each stage took. Stages that were not needed took 0 ms."""

    tenant_id: str
    adapter: str
    version_id: str | None
    """What `stable` points to now; None is the base model alone."""
    previous_id: str | None
    change: int
    """Position of the move in the change log."""
    workers: int
    """Live gateway workers that serve the new route."""
    visible: bool
    """Whether that is all of them. If not, nothing was unloaded: the reconciler does it once they all do."""
    unloaded: Sequence[str]
    load_ms: float
    probe_ms: float
    flip_ms: float
    visible_ms: float
    drain_ms: float
    unload_ms: float

    @property
    def total_ms(self) -> float:
        return self.load_ms + self.probe_ms + self.flip_ms + self.visible_ms + self.drain_ms + self.unload_ms


class Swapper:
    """Moves `stable` aliases. Runs where the control leader runs; the record decides when two of them
    meet."""

    def __init__(
        self,
        registry: Registry,
        store: ArtifactStore,
        engines: Sequence[Engine],
        workers: Workers,
        cache_dir: Path,
        holds: Holds | None = None,
        placing: Placing | None = None,
        checks: Checks = no_checks,
        *,
        drained: Drained = none_drained,
        swapped: Callable[[SwapResult], None] = lambda _: None,
        visible_deadline_s: float = 5.0,
        drain_deadline_s: float = 30.0,
    ) -> None:
        """placing: which replicas get a version; None: every one of its base model. checks: what a version must pass
        before an alias points to it. swapped: told of every swap and rollback."""
        self._registry = registry
        self._engines = engines
        self._workers = workers
        self._loader = Loader(store, engines, cache_dir, drained)
        self._holds = holds if holds is not None else Holds()
        self._placing = placing
        self._checks = checks
        self._swapped = swapped
        self._visible_deadline_s = visible_deadline_s
        self._drain_deadline_s = drain_deadline_s

    async def swap(
        self,
        tenant_id: str,
        adapter: str,
        version_id: str,
        actor: str,
        expected_revision: int | None = None,
        *,
        guard: Guard | None = None,
    ) -> SwapResult:
        """Make a version the one that `stable` serves, if the guard still agrees when the alias moves. Before that, any
        failure changes nothing.

        Raises UnknownVersion, IllegalTransition (a version that was not approved), ConflictError (the alias
        is not at the expected revision, was moved meanwhile, or the guard's), ArtifactError, EngineError, ProbeFailed.
        """
        version = await self._registry.version(version_id)
        if (version.tenant_id, version.adapter) != (tenant_id, adapter):
            raise UnknownVersion(version_id)
        _require_swappable(version)
        current, revision = await self._registry.alias(tenant_id, adapter, Alias.STABLE)
        _require_revision(revision, expected_revision)
        between = current, version
        return await self._to(tenant_id, adapter, between, actor, revision, rolled_back=False, guard=guard)

    async def rollback(
        self, tenant_id: str, adapter: str, actor: str, expected_revision: int | None = None
    ) -> SwapResult:
        """One step back along the line of stable versions, at its end to the base model alone. What served before is
        not checked again: nothing may hold up a way back.

        Raises NothingToRollBack at the base model, and what `swap` raises.
        """
        current, revision = await self._registry.alias(tenant_id, adapter, Alias.STABLE)
        _require_revision(revision, expected_revision)
        if current is None:
            raise NothingToRollBack(tenant_id, adapter)
        previous_id = await self._registry.previous_stable(tenant_id, adapter)
        previous = None if previous_id is None else await self._registry.version(previous_id)
        return await self._to(tenant_id, adapter, (current, previous), actor, revision, rolled_back=True)

    @contextlib.asynccontextmanager
    async def loaded(self, version_id: str, *, serving: bool = False) -> AsyncIterator[Sequence[Engine]]:
        """The replicas where a version was loaded and probed, and stays while the block lasts: every healthy one of its
        base, to be asked by ourselves; serving: its placement set, to be asked by users, so it must pass its adapter's
        checks too.

        Raises UnknownVersion, ArtifactError, EngineError, ProbeFailed.
        """
        with self._holds.hold(version_id):
            version = await self._registry.version(version_id)
            if serving:
                checks = await self._checks(version.tenant_id, version.adapter)
                engines = await self._prepare(version, None, checks, Stopwatch())
            else:
                engines = await self._loader.ensure(version)
            yield engines

    async def _to(
        self,
        tenant_id: str,
        adapter: str,
        between: tuple[str | None, Version | None],
        actor: str,
        revision: int,
        *,
        rolled_back: bool,
        guard: Guard | None = None,
    ) -> SwapResult:
        """between: the id of what serves now, and what shall."""
        watch = Stopwatch()
        current, version = between
        version_id = None if version is None else version.id
        with self._held(version_id):
            if version is not None:
                checks = () if rolled_back else await self._checks(tenant_id, adapter)
                await self._prepare(version, current, checks, watch)
            place = tenant_id, adapter, Alias.STABLE
            move = await self._registry.move_alias(
                *place, version_id, actor, revision, rolled_back=rolled_back, guard=guard
            )
            watch.lap("flip")
            return await self._settle(move, watch)

    async def _prepare(
        self, version: Version, replaces: str | None, checks: Sequence[Check], watch: Stopwatch
    ) -> Sequence[Engine]:
        """Its placement set, where it is loaded and proved; on failure, out of those that it was loaded into."""
        engines = await self._placed(version, replaces)
        fresh: list[Engine] = []
        try:
            try:
                await self._loader.prove(version, engines, checks, watch, fresh)
            except VersionLost:  # another control process unloads what the record does not want yet
                await self._loader.prove(version, engines, checks, watch, fresh)
        except AdaptersError:
            await asyncio.gather(*(_unload(engine, version.id) for engine in fresh))
            raise
        return engines

    async def _placed(self, version: Version, replaces: str | None) -> Sequence[Engine]:
        """The healthy replicas that shall hold a version."""
        engines = await self._loader.healthy(version.lineage.base_digest)
        if self._placing is None or len(engines) <= self._placing.copies:
            return engines
        held = await asyncio.gather(*(engine.resident() for engine in engines))
        by_url = {engine.url: names for engine, names in zip(engines, held, strict=True)}
        chosen = self._placing.set_of(version.id, replaces, by_url)
        return [engine for engine in engines if engine.url in chosen]

    async def _settle(self, move: AliasMove, watch: Stopwatch) -> SwapResult:
        """After the flip: nothing here may fail the swap, it is already true."""
        workers, visible = await self._published(move)
        watch.lap("visible")
        unloaded: Sequence[str] = ()
        left = move.previous_id
        if visible and left is not None and left != move.version_id and await self._drained(left):
            watch.lap("drain")
            unloaded = await self._discard(left)
            watch.lap("unload")
        result = SwapResult(
            tenant_id=move.tenant_id,
            adapter=move.adapter,
            version_id=move.version_id,
            previous_id=move.previous_id,
            change=move.change,
            workers=workers,
            visible=visible,
            unloaded=unloaded,
            **watch.stages(),
        )
        self._swapped(result)
        return result

    async def _published(self, move: AliasMove) -> tuple[int, bool]:
        await self._workers.announce(move.change, move)
        try:
            return await self._workers.wait_for(move.change, self._visible_deadline_s), True
        except WorkersBehind:
            return 0, False

    async def _drained(self, version_id: str) -> bool:
        """Whether the last request on this version is known to have ended before the deadline."""
        deadline = time.monotonic() + self._drain_deadline_s
        while time.monotonic() <= deadline:
            with contextlib.suppress(WorkersUnseen):
                if not (await self._workers.leases()).get(version_id, 0):
                    return True
            await asyncio.sleep(_LEASE_POLL_S)
        return False

    async def _discard(self, version_id: str) -> Sequence[str]:
        """Unload a version from every replica unless something wants it."""
        if await self._registry.is_wanted(version_id) or version_id in self._holds:
            return ()
        await asyncio.gather(*(_unload(engine, version_id) for engine in self._engines))
        return (version_id,)

    def _held(self, version_id: str | None) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if version_id is None else self._holds.hold(version_id)


async def _unload(engine: Engine, version_id: str) -> None:
    """A replica that is down has lost it."""
    with contextlib.suppress(EngineError):
        await engine.unload(version_id)


def _require_swappable(version: Version) -> None:
    """Refuse before anything is loaded what the record would refuse after."""
    stable = VersionStatus.STABLE
    if version.status is not stable and stable not in TRANSITIONS[version.status]:
        raise IllegalTransition(version.id, version.status, stable)


def _require_revision(revision: int, expected: int | None) -> None:
    if expected is not None and expected != revision:
        raise ConflictError(f"alias stable is at revision {revision}, not {expected}")
