"""Part `scale`: what a worker and control cost when there are very many tenants."""

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from adapters.database import connect
from adapters.registry import Registry
from adapters.types import DEFAULT_ADAPTER, Alias
from gateway.loader import SnapshotLoader
from gateway.principal import authenticate
from gateway.routing import route
from gateway.snapshot import Snapshot
from gateway.tenants import TenantStore
from tests.bench import scale_control
from tests.bench.house import House, house
from tests.bench.part import Options, Outcome
from tests.bench.processes import Cores
from tests.bench.report import Figure
from tests.bench.scale_control import ControlCost

TENANTS = 10_000
FEW = 100
VERSIONS = 3
LOOKUPS = 2000
SWAPS = 20


@dataclass(frozen=True)
class Cost:
    """Of one worker with so many tenants."""

    tenants: int
    ready_s: float
    rss: int
    """Bytes."""
    lookup_s: float
    reload_s: float
    page_s: float


def run(options: Options) -> Outcome:
    cores = Cores.of_this_machine()
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cores.load})
    try:
        with tempfile.TemporaryDirectory(prefix="graft-scale-") as name:
            (few, little), (many, much) = (
                measured(Path(name) / str(tenants), tenants, cores) for tenants in (FEW, TENANTS)
            )
    finally:
        os.sched_setaffinity(0, before)
    return Outcome(
        figures=[
            Figure(f"start to ready, {TENANTS:,} tenants", many.ready_s, "s", few.ready_s, "100", target=5.0),
            Figure("memory per tenant", (many.rss - few.rss) / (TENANTS - FEW) / 1024, "KiB", target=16.0),
            Figure("lookup", many.lookup_s * 1e6, "µs", few.lookup_s * 1e6, "100", target=2.0, of_ratio=True),
            Figure("reload after a swap", many.reload_s * 1e3, "ms", few.reload_s * 1e3, "100", target=25.0),
            Figure("a page of tenants", many.page_s * 1e3, "ms", few.page_s * 1e3, "100", target=50.0),
            *control_figures(little, much),
        ],
        notes=[f"control's slowest list is that of {much.slowest}"],
        tables={"a worker": [vars(few), vars(many)], "control": [vars(little), vars(much)]},
    )


def control_figures(few: ControlCost, many: ControlCost) -> list[Figure]:
    return [
        Figure("control: start to a filled engine", many.ready_s, "s", few.ready_s, "100", target=5.0),
        Figure("control: memory", many.rss / 2**20, "MiB", few.rss / 2**20, "100", target=1.3, of_ratio=True),
        Figure(
            "control: processor, quiet", many.quiet_s * 1e3, "ms/s", few.quiet_s * 1e3, "100", target=50.0
        ),
        Figure("control: a quiet pass", many.pass_s * 1e3, "ms", few.pass_s * 1e3, "100", target=25.0),
        Figure("control: a swap", many.swap_s * 1e3, "ms", few.swap_s * 1e3, "100", target=250.0),
        Figure("control: slowest list, p99", many.page_s * 1e3, "ms", few.page_s * 1e3, "100", target=50.0),
    ]


def measured(directory: Path, tenants: int, cores: Cores) -> tuple[Cost, ControlCost]:
    with (
        scale_control.light_engine(directory, cores.load) as engine,
        house(directory, engine, tenants, cores, versions=VERSIONS) as made,
    ):
        with made.worker() as worker:
            ready_s, rss = worker.ready_s, worker.rss()
        cost = asyncio.run(_inside(made, tenants, ready_s, rss))
        return cost, scale_control.measured(made, tenants, cores)


async def _inside(made: House, tenants: int, ready_s: float, rss: int) -> Cost:
    """The same code in this process, where single calls can be timed."""
    record = connect(made.plan.database_url)
    try:
        registry = Registry(record)
        loader = SnapshotLoader(record, "secret")
        snapshot = await loader.load()
        lookup_s = lookups(snapshot, made.keys)
        reload_s = await reloads(registry, loader, snapshot)
        store = TenantStore(record)
        middle = (await store.list(limit=tenants // 2))[-1].id
        started = time.perf_counter()
        await store.list(after=middle, limit=50)
        return Cost(tenants, ready_s, rss, lookup_s, reload_s, time.perf_counter() - started)
    finally:
        await record.dispose()


def lookups(snapshot: Snapshot, keys: Sequence[str]) -> float:
    """Seconds from a bearer key to its route, the median."""
    now, took = datetime.now(UTC), []
    for number in range(LOOKUPS):
        bearer = f"Bearer {keys[number * 7919 % len(keys)]}"
        started = time.perf_counter()
        principal = authenticate(snapshot, bearer, None, now)
        route(principal.tenant, f"{DEFAULT_ADAPTER}@v{VERSIONS}")
        took.append(time.perf_counter() - started)
    return statistics.median(took)


async def reloads(registry: Registry, loader: SnapshotLoader, snapshot: Snapshot) -> float:
    """Seconds from a moved alias to the snapshot that has it, the median."""
    took = []
    for view in list(snapshot.tenants.values())[:SWAPS]:
        to = view.adapters[DEFAULT_ADAPTER].versions[2]
        await registry.move_alias(view.id, DEFAULT_ADAPTER, Alias.STABLE, to, "bench")
        started = time.perf_counter()
        snapshot = await loader.follow(snapshot)
        took.append(time.perf_counter() - started)
        assert snapshot.tenants[view.id].adapters[DEFAULT_ADAPTER].aliases[Alias.STABLE] == to
    return statistics.median(took)
