"""The reconciler: what the record wants in the engines against what is in them, and the repair of the
difference.

It makes a restarted replica serve again, ends what a crash left half-done, unloads what nothing wants, chooses, where
there are more versions than room, which replica holds which (`adapters.placement`), and has replicas pin what the
record pins.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from adapters.artifacts import ArtifactStore
from adapters.engine import Engine, Holding
from adapters.errors import ArtifactError, EngineError, WorkersBehind
from adapters.heat import Heat
from adapters.holds import Holds
from adapters.loading import Loader
from adapters.placement import Placing, Wish, plan, taking
from adapters.registry import Registry
from adapters.swap import Workers
from adapters.tasks import InTurn
from adapters.types import Version
from adapters.wants import Want, Wants

NOTHING: Mapping[str, float] = {}
LOADED_WITHIN_S = 5.0
"""How long a pass waits for the loads of one replica; then they go on beside the following ones."""
Observed = tuple[Engine, Holding]
"""A replica that answers, and what it holds."""


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
    pinned: Sequence[Repair] = ()
    unpinned: Sequence[Repair] = ()
    failed: Sequence[Repair] = ()
    residency: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """What each replica that answers holds now, by its URL."""

    def __bool__(self) -> bool:
        return bool(self.loaded or self.unloaded or self.pinned or self.unpinned or self.failed)


class Reconciler:
    """Compares and repairs, one pass per call of `run_once`. `holds` names versions that somebody is about to
    need.

    capacity: versions that each replica keeps in memory. copies: replicas that hold a version, where there are so
    many.
    """

    def __init__(
        self,
        registry: Registry,
        wants: Wants,
        store: ArtifactStore,
        engines: Sequence[Engine],
        workers: Workers,
        holds: Holds,
        cache_dir: Path,
        *,
        capacity: int,
        copies: int = 2,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._wants = wants
        self._engines = engines
        self._workers = workers
        self._holds = holds
        self._loader = Loader(store, engines, cache_dir)
        self._capacity = capacity
        self._copies = copies
        self._clock = clock
        self._loads: InTurn[Repairs] = InTurn(LOADED_WITHIN_S)
        self.heat = Heat(clock())

    @property
    def placing(self) -> Placing:
        """How this reconciler spreads versions, for who loads one before it looks again."""
        return Placing(self._capacity, self._copies, self.heat.of)

    async def run_once(
        self,
        asked: Mapping[str, float] = NOTHING,
        waiting: Collection[str] | None = (),
        drained: Collection[str] = (),
    ) -> Repairs:
        """One pass. A replica that is down is left alone, and so is a drained one while another of its base model
        answers; what cannot be loaded is reported, not raised.

        asked: how often each version was asked for since the last pass. waiting: versions with requests in flight;
        None: that cannot be told now, so nothing is unloaded. drained: URLs of the replicas that get no new work.
        """
        ended = self._loads.ended()  # before the look at the replicas, which then shows what these loaded
        self.heat.add(asked, self._clock())
        with self._holds.seen() as held:
            pools = await self._observe(drained)
            hot = self.heat.hottest(self._capacity * sum(map(len, pools.values())))
            return _together(
                [
                    *ended,
                    *[await self._repaired(base, pool, hot, waiting, held) for base, pool in pools.items()],
                ]
            )

    def loads_into(self, url: str) -> bool:
        """Whether loads into this replica go on, of which a later pass tells."""
        return url in self._loads

    async def close(self) -> None:
        """Ends the loads that go on."""
        await self._loads.close()

    async def _repaired(
        self,
        base: str,
        observed: Sequence[Observed],
        hot: Mapping[str, float],
        waiting: Collection[str] | None,
        needed: Set[str],
    ) -> Repairs:
        """The replicas of one base model, which hold versions of that one only. needed: grows while this runs."""
        held = {engine.url: holding.resident for engine, holding in observed}
        wanted, wishes = await self._wished(base, held, hot, waiting or ())
        planned = plan(wishes, held, self._capacity, self._copies)
        versions = {name: want.version for name, want in wanted.items()}
        done = await self._load_missing(observed, planned, versions)
        now = _after({engine.url: holding.serving for engine, holding in observed}, done.loaded, [])
        unloaded, stuck = list[Repair](), list[Repair]()
        if waiting is not None:
            unloaded, stuck = await self._unload_idle(observed, planned, now, waiting, needed)
        now = _after(now, [], unloaded)
        pins = {name for name, want in wanted.items() if want.pinned}
        pinned, unpinned, unkept = await self._keep_pins(observed, now, pins)
        return Repairs(done.loaded, unloaded, pinned, unpinned, [*done.failed, *stuck, *unkept], now)

    async def _wished(
        self,
        base: str,
        held: Mapping[str, frozenset[str]],
        hot: Mapping[str, float],
        waiting: Collection[str],
    ) -> tuple[Mapping[str, Want], Sequence[Wish]]:
        """The record's wishes: what must be held, what is asked for or held, and as many others as there is room
        for."""
        room = self._capacity * len(held)
        present = {name for names in held.values() for name in names}
        wanted = await self._wants.wanted(base, waiting, hot.keys() | present, room)
        wishes = [
            Wish(name, hot.get(name, 0.0), want.must or name in waiting) for name, want in wanted.items()
        ]
        return wanted, wishes

    async def _observe(self, drained: Collection[str]) -> Mapping[str, Sequence[Observed]]:
        """By base model's digest the replicas that answer and take work, and what they hold. Read before the record, so
        that it is never newer than that."""
        pools: dict[str, list[Observed]] = {}
        for each in await asyncio.gather(*(_observed(engine) for engine in self._engines)):
            if each is not None:
                pools.setdefault(each[0].base_digest, []).append(each)
        return {base: taking(pool, drained, lambda one: one[0].url) for base, pool in pools.items()}

    async def _load_missing(
        self,
        observed: Sequence[Observed],
        planned: Mapping[str, frozenset[str]],
        versions: Mapping[str, Version],
    ) -> Repairs:
        """Without what a replica takes long over: a later pass has it."""
        done: list[Repairs] = []
        for engine, holding in observed:
            names = sorted((planned[engine.url] - holding.serving) & versions.keys())
            if names:
                fill = partial(self._fill, engine, [versions[name] for name in names])
                done += await self._loads.do(engine.url, fill)
        return _together(done)

    async def _fill(self, engine: Engine, versions: Sequence[Version]) -> Repairs:
        loaded: list[Repair] = []
        failed: list[Repair] = []
        for version in versions:
            try:
                await self._loader.load(version, [engine])
                loaded.append(Repair(engine.url, version.id))
            except (ArtifactError, EngineError) as error:
                failed.append(Repair(engine.url, version.id, str(error)))
        return Repairs(loaded, failed=failed)

    async def _unload_idle(
        self,
        observed: Sequence[Observed],
        planned: Mapping[str, frozenset[str]],
        now: Mapping[str, frozenset[str]],
        waiting: Collection[str],
        needed: Set[str],
    ) -> tuple[list[Repair], list[Repair]]:
        """What is not in the plan, and not needed beside it; of what is planned elsewhere, only what is served there
        `now`. A version that the record still wants may be asked for again at any time: it is then loaded again."""
        unloaded: list[Repair] = []
        failed: list[Repair] = []
        everywhere = {version_id for versions in planned.values() for version_id in versions}
        idle = {version_id for _, holding in observed for version_id in holding.resident} - everywhere
        gone = await self._unused(idle)
        settled = {version_id for url, versions in planned.items() for version_id in versions & now[url]}
        for engine, holding in observed:
            spare = (holding.resident & settled) - planned[engine.url]
            for version_id in sorted((holding.resident & gone) | (spare - set(waiting))):
                if version_id in needed:
                    continue
                try:
                    await engine.unload(version_id)
                    unloaded.append(Repair(engine.url, version_id))
                except EngineError as error:
                    failed.append(Repair(engine.url, version_id, str(error)))
        return unloaded, failed

    async def _keep_pins(
        self, observed: Sequence[Observed], now: Mapping[str, frozenset[str]], pins: Set[str]
    ) -> tuple[list[Repair], list[Repair], list[Repair]]:
        """Each replica pins, of what it holds now, what the record pins, and lets go of the rest. One that cannot pin
        is left alone."""
        pinned: list[Repair] = []
        unpinned: list[Repair] = []
        failed: list[Repair] = []
        for engine, holding in observed:
            if holding.pinned is None:
                continue
            there = now[engine.url]
            steps = [(engine.unpin, name, unpinned) for name in sorted((holding.pinned & there) - pins)]
            steps += [(engine.pin, name, pinned) for name in sorted((there & pins) - holding.pinned)]
            for step, version_id, done in steps:
                try:
                    await step(version_id)
                    done.append(Repair(engine.url, version_id))
                except EngineError as error:
                    failed.append(Repair(engine.url, version_id, str(error)))
        return pinned, unpinned, failed

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
        return {name for name in idle if not leases.get(name)}


async def _observed(engine: Engine) -> Observed | None:
    try:
        return engine, await engine.holding()
    except EngineError:
        return None


def _together(pools: Sequence[Repairs]) -> Repairs:
    return Repairs(
        loaded=[repair for pool in pools for repair in pool.loaded],
        unloaded=[repair for pool in pools for repair in pool.unloaded],
        pinned=[repair for pool in pools for repair in pool.pinned],
        unpinned=[repair for pool in pools for repair in pool.unpinned],
        failed=[repair for pool in pools for repair in pool.failed],
        residency={url: names for pool in pools for url, names in pool.residency.items()},
    )


def _after(
    held: Mapping[str, frozenset[str]], loaded: Sequence[Repair], unloaded: Sequence[Repair]
) -> Mapping[str, frozenset[str]]:
    """What each replica serves once these repairs are done."""
    now = {url: set(names) for url, names in held.items()}
    for repair in unloaded:
        now[repair.engine].discard(repair.version_id)
    for repair in loaded:
        now[repair.engine].add(repair.version_id)
    return {url: frozenset(names) for url, names in now.items()}
