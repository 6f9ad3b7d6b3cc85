"""What a system holds: files, rows, stream entries, slots. Read from outside, beside its public interfaces."""

import contextlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sa
from redis.asyncio import Redis

from adapters.database import connect
from adapters.slot_ledger import HELD_KEY, WAITING_KEY
from gateway.supervisor import Supervised
from tests.bench.study_house import House
from training.journal import STREAM
from training.journal_drain import GROUP
from training.runs import ACTIVE

TABLES = (
    "interactions", "feedback", "outbox", "datasets", "runs", "run_events", "learned", "versions", "audit", "changes",
    "responses", "writes", "webhook_calls", "memory_entries", "dataset_corrections", "alias_history",
)  # fmt: skip


@dataclass(frozen=True)
class Held:
    """One look. `files` and `rss_mb` are by process, everything that it started included."""

    files: Mapping[str, int]
    rss_mb: Mapping[str, float]
    rows: Mapping[str, int]
    kept_versions: int
    """Versions that are not pruned."""
    active_runs: int
    artifacts: int
    """Directories of the artifact store."""
    local_copies: int
    engine_copies: int
    engine_names: int
    """Versions that a restarted engine would find by itself."""
    engine_mb: float
    temporary_files: int
    run_directories: int
    log_mb: float
    stream: int
    pending: int
    consumers: int
    redis_keys: Mapping[str, int]
    """By kind: what stands behind `graft:`."""
    slots_held: int
    """Versions on the fullest replica."""
    slots_waited: int
    leases: int
    resident: int


async def look(here: House) -> Held:
    """Raises what a part of the system that is away raises."""
    plan = here.system.plan
    processes = here.system.supervisor.processes
    rows, kept, active = await _rows(plan.database_url)
    replicas = await here.control.call("GET", "replicas")
    async with Redis.from_url(plan.redis_url) as redis:
        stream, pending, consumers = await _stream(redis)
        keys = [key.decode() async for key in redis.scan_iter(count=1000)]
        held, waited = await _slots(redis, HELD_KEY), await _slots(redis, WAITING_KEY)
    return Held(
        files={name: round(sum(_each(process, "num_fds"))) for name, process in processes.items()},
        rss_mb={name: round(sum(_each(p, "memory_info")) / 1e6) for name, p in processes.items()},
        rows=rows,
        kept_versions=kept,
        active_runs=active,
        artifacts=_entries(plan.data_dir / "artifacts"),
        local_copies=_entries(plan.data_dir / "cache" / "artifacts"),
        engine_copies=_entries(plan.engine_cache / "artifacts"),
        engine_names=_entries(plan.engine_cache / "names"),
        engine_mb=round(sum(sizes(plan.engine_cache)) / 1e6, 1),
        temporary_files=len(sizes(plan.scratch)),
        run_directories=_entries(plan.data_dir / "runs"),
        log_mb=round(sum(file.stat().st_size for file in plan.logs.iterdir()) / 1e6, 1),
        stream=stream,
        pending=pending,
        consumers=consumers,
        redis_keys=dict(Counter(kind_of(key) for key in set(keys))),
        slots_held=held,
        slots_waited=waited,
        leases=sum(sum(worker["leases"].values()) for worker in replicas["workers"]),
        resident=max(len(replica["resident"]) for replica in replicas["data"]),
    )


async def _rows(url: str) -> tuple[dict[str, int], int, int]:
    engine = connect(url)
    active = tuple(status.value for status in ACTIVE)
    async with engine.connect() as connection:

        async def count(what: str, **values: Any) -> int:
            statement = sa.text(f"SELECT count(*) FROM {what}").bindparams(
                *(sa.bindparam(name, expanding=True) for name in values)
            )
            return int((await connection.execute(statement, values)).scalar_one())

        rows = {table: await count(table) for table in TABLES}
        kept = await count("versions WHERE pruned_at IS NULL")
        running = await count("runs WHERE status IN :active", active=active)
    await engine.dispose()
    return rows, kept, running


async def _stream(redis: Redis) -> tuple[int, int, int]:
    groups = await redis.xinfo_groups(STREAM) if await redis.exists(STREAM) else []
    ours = next((group for group in groups if group["name"] == GROUP.encode()), None)
    length = int(await redis.xlen(STREAM))
    return length, int(ours["pending"]) if ours else 0, int(ours["consumers"]) if ours else 0


async def _slots(redis: Redis, pattern: str) -> int:
    """Versions in the fullest of the replicas' hashes, whose fields are a version and a worker."""
    keys = [key async for key in redis.scan_iter(pattern.format(url="*"), count=1000)]
    held = [{field.split()[0] for field in await redis.hkeys(key)} for key in keys]
    return max((len(versions) for versions in held), default=0)


def kind_of(key: str) -> str:
    """`slots` of `graft:slots:http://127.0.0.1:8100:held`."""
    return key.removeprefix("graft:").partition(":")[0]


def _each(process: Supervised, what: str) -> list[float]:
    """A number of the process and of each that it started."""
    found: list[float] = []
    try:
        leader = psutil.Process(process.pid)
        for one in [leader, *leader.children(recursive=True)]:
            value = getattr(one, what)()
            found.append(float(getattr(value, "rss", value)))
    except psutil.NoSuchProcess:
        pass
    return found


def _entries(directory: Path) -> int:
    return sum(not path.name.startswith(".") for path in directory.iterdir()) if directory.is_dir() else 0


def sizes(directory: Path) -> list[int]:
    """Bytes of each file below; what goes while it is looked at is left out."""
    sizes = []
    for path in directory.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if path.is_file():
                sizes.append(path.stat().st_size)
    return sizes
