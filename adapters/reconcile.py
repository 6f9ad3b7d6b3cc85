"""The reconciler: what the record wants in the engines against what is in them, and the repair of the
difference.

It makes a restarted replica serve again, ends what a crash left half-done, and unloads what nothing wants.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from adapters.artifacts import ArtifactStore
from adapters.engine import Engine
from adapters.errors import ArtifactError, EngineError, WorkersBehind
from adapters.loading import Loader
from adapters.registry import Registry
from adapters.swap import Workers
from adapters.types import Version


@dataclass(frozen=True)
class Repair:
    """One thing that was done, or that could not be done, on one replica."""

    engine: str
    version_id: str
    error: str | None = None


@dataclass(frozen=True)
class Repairs:
    """What one pass did. All empty means: every replica holds what it should and nothing else."""

    loaded: Sequence[Repair] = ()
    unloaded: Sequence[Repair] = ()
    failed: Sequence[Repair] = ()

    def __bool__(self) -> bool:
        return bool(self.loaded or self.unloaded or self.failed)


class Reconciler:
    """Compares and repairs, one pass per call of `run_once`. `holds` names versions that somebody is about to
    need."""

    def __init__(
        self,
        registry: Registry,
        store: ArtifactStore,
        engines: Sequence[Engine],
        workers: Workers,
        holds: Container[str],
        cache_dir: Path,
    ) -> None:
        self._registry = registry
        self._engines = engines
        self._workers = workers
        self._holds = holds
        self._loader = Loader(store, engines, cache_dir)

    async def run_once(self) -> Repairs:
        """One pass. A replica that is down is left alone; what cannot be loaded is reported, not raised."""
        observed = await self._observe()
        wanted = {version.id: version for version in await self._registry.wanted()}
        loaded, failed = await self._load_missing(observed, wanted)
        unloaded, stuck = await self._unload_idle(observed, wanted)
        return Repairs(loaded, unloaded, [*failed, *stuck])

    async def _observe(self) -> list[tuple[Engine, frozenset[str]]]:
        """Replicas that answer, and what they hold. Read before the record, so that it is never newer than
        that."""
        observed: list[tuple[Engine, frozenset[str]]] = []
        for engine in self._engines:
            try:
                observed.append((engine, await engine.resident()))
            except EngineError:
                continue
        return observed

    async def _load_missing(
        self, observed: Sequence[tuple[Engine, frozenset[str]]], wanted: Mapping[str, Version]
    ) -> tuple[list[Repair], list[Repair]]:
        loaded: list[Repair] = []
        failed: list[Repair] = []
        for engine, held in observed:
            for version_id in sorted(wanted.keys() - held):
                try:
                    await self._loader.load(wanted[version_id], [engine])
                    loaded.append(Repair(engine.url, version_id))
                except (ArtifactError, EngineError) as error:
                    failed.append(Repair(engine.url, version_id, str(error)))
        return loaded, failed

    async def _unload_idle(
        self, observed: Sequence[tuple[Engine, frozenset[str]]], wanted: Mapping[str, Version]
    ) -> tuple[list[Repair], list[Repair]]:
        unloaded: list[Repair] = []
        failed: list[Repair] = []
        idle = {version_id for _, held in observed for version_id in held} - wanted.keys()
        for version_id in sorted(await self._unused(idle)):
            for engine in (engine for engine, held in observed if version_id in held):
                try:
                    await engine.unload(version_id)
                    unloaded.append(Repair(engine.url, version_id))
                except EngineError as error:
                    failed.append(Repair(engine.url, version_id, str(error)))
        return unloaded, failed

    async def _unused(self, idle: set[str]) -> set[str]:
        """Of the versions that the record does not want, those that no worker can send a request to any more.

        The order matters. Once every worker serves the record as it was read, none can begin a request on
        these versions; only then do their leases say that the last one has ended.
        """
        if not idle:
            return idle
        try:
            await self._workers.wait_for(await self._registry.position(), 0)
            leases = await self._workers.leases()
        except WorkersBehind:
            return set()
        return {name for name in idle if not leases.get(name) and name not in self._holds}
