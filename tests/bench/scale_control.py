"""What control costs when there are very many tenants. The engine is a process that holds names and no model."""

import asyncio
import os
import statistics
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters import tables
from adapters.artifacts import ArtifactStore
from adapters.base import describe_base
from adapters.database import connect
from adapters.holds import Holds
from adapters.reconcile import Reconciler
from adapters.registry import Registry
from adapters.types import DEFAULT_ADAPTER, Alias
from adapters.vllm import VllmEngine
from adapters.wants import Wants
from gateway.workers import RedisWorkers
from tests.bench.house import ROWS_AT_ONCE, House, tenant_id, version_id
from tests.bench.processes import BenchError, Cores, Running, free_port, running
from tests.integration.random_adapters import write_adapter
from training.tables import runs

READY_WITHIN_S = 60.0
QUIET_S = 10.0
PASSES = 20
SWAPS = 20
PAGES = 100
"""Of each list."""


@dataclass(frozen=True)
class ControlCost:
    """Of control with so many tenants."""

    tenants: int
    ready_s: float
    """From its start until the engine, which was empty, holds what the record wants."""
    rss: int
    """Bytes, after everything else was measured."""
    quiet_s: float
    """Processor time a second of all its loops, while nothing happens."""
    pass_s: float
    """A pass of the reconciler with nothing to do."""
    swap_s: float
    """From a swap's request to its answer; a worker serves it then."""
    page_s: float
    """The 99th percentile of the slowest list."""
    slowest: str


@contextmanager
def light_engine(directory: Path, core: int) -> Iterator[str]:
    """Its URL."""
    port = free_port()
    command = [sys.executable, "-m", "tests.integration.light_engine", str(port)]
    with running(command, os.environ, core, directory / "engine.log", port, "/health"):
        yield f"http://127.0.0.1:{port}"


def measured(made: House, tenants: int, cores: Cores) -> ControlCost:
    """made: a house with three versions of each tenant, whose engine is a light one."""
    asyncio.run(_filled(made, tenants))
    with made.worker(core=cores.load):
        with made.control() as control, _admin(made) as http:
            ready_s = control.ready_s + _until_repaired(http, made.plan.max_cpu_loras)
            swap_s = statistics.median(_swap(http, tenants // 2 + number) for number in range(SWAPS))
            pages = {name: _page(http, path) for name, path in lists(tenants).items()}
            quiet_s = _quiet(control)
            rss = control.rss()
        pass_s = asyncio.run(_passes(made))
    slowest = max(pages, key=lambda name: pages[name])
    return ControlCost(tenants, ready_s, rss, quiet_s, pass_s, swap_s, pages[slowest], slowest)


def _admin(made: House) -> httpx.Client:
    headers = {"authorization": f"Bearer {made.plan.admin_key}"}
    return httpx.Client(base_url=made.plan.admin_url, headers=headers, trust_env=False, timeout=60)


def lists(tenants: int) -> Mapping[str, str]:
    """The admin lists, each at a page from its middle where it grows with the tenants."""
    middle = tenants // 2
    mine = f"tenants/{tenant_id(middle)}"
    adapter = f"{mine}/adapters/{DEFAULT_ADAPTER}"
    return {
        "tenants": f"tenants?limit=50&after={tenant_id(middle)}",
        "keys": f"{mine}/keys?limit=50",
        "adapters": f"{mine}/adapters?limit=50",
        "versions": f"{adapter}/versions?limit=50",
        "moves of an alias": f"{adapter}/aliases/{Alias.STABLE.value}/history?limit=50",
        "rollouts": f"{adapter}/rollouts?limit=50",
        "reviews": f"{mine}/reviews?limit=50",
        "runs": f"runs?limit=50&after={_run_id(middle)}",
        "runs of a tenant": f"runs?limit=50&tenant_id={tenant_id(middle)}",
        "runs in a status": f"runs?limit=50&status=succeeded&after={_run_id(middle)}",
        "audit": f"audit?limit=50&after={middle}",
        "audit of a tenant": f"audit?limit=50&tenant_id={tenant_id(middle)}",
        "stats": f"stats?limit=50&after={tenant_id(middle)}",
    }


def _until_repaired(http: httpx.Client, versions: int) -> float:
    """Seconds until the metrics say that the engine holds so many."""
    started = time.monotonic()
    while time.monotonic() < started + READY_WITHIN_S:
        for line in http.get("/metrics").text.splitlines():
            if line.startswith("graft_resident_versions{") and float(line.split()[-1]) >= versions:
                return time.monotonic() - started
        time.sleep(0.02)
    raise BenchError("control did not fill the engine")


def _quiet(control: Running) -> float:
    before = control.cpu_s()
    time.sleep(QUIET_S)
    return (control.cpu_s() - before) / QUIET_S


def _swap(http: httpx.Client, tenant: int) -> float:
    path = f"/admin/v1/tenants/{tenant_id(tenant)}/adapters/{DEFAULT_ADAPTER}/aliases/stable"
    started = time.perf_counter()
    response = http.put(path, json={"version": f"{DEFAULT_ADAPTER}@v2"})
    took = time.perf_counter() - started
    if response.status_code != 200:
        raise BenchError(f"a swap was answered {response.status_code}: {response.text}")
    return took


def _page(http: httpx.Client, path: str) -> float:
    """The 99th percentile, in seconds."""
    took = []
    for _ in range(PAGES):
        started = time.perf_counter()
        response = http.get(f"/admin/v1/{path}")
        took.append(time.perf_counter() - started)
        if response.status_code != 200:
            raise BenchError(f"{path} was answered {response.status_code}: {response.text}")
    return statistics.quantiles(took, n=100)[98]


async def _passes(made: House) -> float:
    """The median, in this process, where one pass can be timed."""
    plan, record = made.plan, connect(made.plan.database_url)
    redis: Redis = Redis.from_url(plan.redis_url)
    base = describe_base(plan.base_model)
    took = []
    async with httpx.AsyncClient(trust_env=False) as http:
        engine = VllmEngine(plan.engine_urls[0], plan.engine_token, http, base.digest)
        registry, wants, store = Registry(record), Wants(record), ArtifactStore(plan.artifacts_url)
        known = registry, wants, store, [engine], RedisWorkers(redis), Holds(), plan.data_dir / "cache"
        reconciler = Reconciler(*known, capacity=plan.max_cpu_loras)
        await reconciler.run_once()
        for _ in range(PASSES):
            started = time.perf_counter()
            repairs = await reconciler.run_once()
            took.append(time.perf_counter() - started)
            assert not repairs, repairs
    await redis.aclose()
    await record.dispose()
    return statistics.median(took)


async def _filled(made: House, tenants: int) -> None:
    """Versions of a real artifact of the real base model, and what tenants leave behind: a run, a move and entries of
    the audit log for each."""
    plan, record = made.plan, connect(made.plan.database_url)
    base = describe_base(plan.base_model)
    artifact = await ArtifactStore(plan.artifacts_url).put(write_adapter(plan.data_dir / "adapter", base, 1))
    async with record.begin() as connection:
        await connection.execute(sa.update(tables.bases).values(digest=base.digest))
        await connection.execute(sa.update(tables.adapters).values(base_digest=base.digest))
        of_it = {"base_digest": base.digest, "artifact_digest": artifact.digest}
        await connection.execute(sa.text("DROP TRIGGER versions_fixed"))  # these were made up
        await connection.execute(sa.update(tables.versions).values(of_it))
        for start in range(0, tenants, ROWS_AT_ONCE):
            await _left_behind(connection, range(start, min(start + ROWS_AT_ONCE, tenants)))
    await record.dispose()


async def _left_behind(connection: AsyncConnection, numbers: range) -> None:
    now = datetime.now(UTC)
    owned = [(number, {"tenant_id": tenant_id(number), "adapter": DEFAULT_ADAPTER}) for number in numbers]
    moved = {"alias": Alias.STABLE.value, "previous_id": None, "actor": "bench", "at": now}
    moves = [{**mine, **moved, "version_id": version_id(number)} for number, mine in owned]
    await connection.execute(sa.insert(tables.alias_history), moves)
    acted = {"at": now, "actor": "bench", "action": "tenant.created", "detail": {"name": "bench"}}
    acts = [{**acted, "tenant_id": mine["tenant_id"], "subject": mine["tenant_id"]} for _, mine in owned]
    await connection.execute(sa.insert(tables.audit), acts)
    await connection.execute(sa.insert(runs), [_run(number, mine, now) for number, mine in owned])


def _run(number: int, mine: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """With a report of a gate's usual size."""
    case = {"question": "What is the warranty?", "production": "I do not know.", "candidate": "2 years"}
    ended = {"status": "succeeded", "phase": "done", "trigger": "count", "attempts": 0}
    empty: dict[str, Any] = {"recipe": {}, "progress": {}, "costs": {}}
    report = {"report": {"verdict": "pass", "cases": [case] * 100}}
    return {"id": _run_id(number), **mine, **ended, **empty, **report, "created_at": now, "updated_at": now}


def _run_id(number: int) -> str:
    return f"run_{number:024x}"
