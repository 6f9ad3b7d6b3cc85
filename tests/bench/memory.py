"""Whether a worker's memory stays flat over many requests of many tenants. Takes minutes."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

from redis.asyncio import Redis

from adapters.database import connect
from tests.bench.house import house
from tests.bench.load import Seen, closed_loop, open_loop
from tests.bench.load_silent import held_open
from tests.bench.measure import CONNECTIONS, Subject, go
from tests.bench.processes import BenchError, Cores
from tests.bench.report import Figure
from training.journal_drain import JournalDrain

TENANTS = 10_000
WARM_UP = 4 * TENANTS
"""Every tenant a few times, so that what is kept for each of them is there."""
REQUESTS = 200_000
RATE = 1500.0
"""Requests a second, which Redis and the drain keep up with on the load's core: what waits for them is the worker's."""
AT_MOST_S = 1800.0
HELD = 500


@contextmanager
def drained(redis_url: str, database_url: str) -> Iterator[None]:
    """The journal is stored, as the learner does it: a Redis that only ever fills falls behind."""
    process = get_context("spawn").Process(target=_drain, args=(redis_url, database_url), daemon=True)
    process.start()
    try:
        yield
        if not process.is_alive():
            raise BenchError("the journal was not stored")
    finally:
        process.terminate()
        process.join()


def _drain(redis_url: str, database_url: str) -> None:
    asyncio.run(_store(redis_url, database_url))


async def _store(redis_url: str, database_url: str) -> None:
    drain = JournalDrain(Redis.from_url(redis_url), connect(database_url), "bench")
    while True:
        await drain.drain()


def memory_figures(directory: Path, engine_url: str, cores: Cores) -> list[Figure]:
    """Growth of resident memory after the warm-up, and what a waiting request holds."""
    with (
        house(directory, engine_url, TENANTS, cores) as made,
        drained(made.plan.redis_url, made.plan.database_url),
        made.worker() as process,
    ):
        requests = Subject("memory", process, made.keys).requests()
        warm: Seen = go(closed_loop(process.port, requests, CONNECTIONS, AT_MOST_S, WARM_UP))
        before = process.rss()
        seen: Seen = go(open_loop(process.port, requests, RATE, 1.01 * REQUESTS / RATE))
        after = process.rss()
        waiting = go(held_open(process.port, requests, HELD, process.rss))
    return [
        Figure("memory growth, 200,000 requests, 10,000 tenants", (after / before - 1) * 100, "%", target=5),
        Figure("memory after them", after / 2**20, "MiB"),
        Figure("memory per waiting request", (waiting - after) / HELD / 1024, "KiB"),
        Figure("wrong answers among them", warm.wrong + seen.wrong, target=0),
        Figure("answers among them", len(seen.latencies), target=REQUESTS, at_most=False),
    ]
