"""The gateway workers as control sees them: told of a change, waited for, asked for their leases.

Implements the port `adapters.swap.Workers` over what `gateway.leases` writes.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from redis.asyncio import Redis

from adapters.errors import WorkersBehind
from gateway.leases import ASKED_KEY, RESIDENCY_KEY, WORKER_KEY, WORKERS_KEY

CHANGES_CHANNEL = "graft:changes"
"""A change's position is published here after its transaction has committed."""
FORGET_AFTER_S = 60.0
POLL_S = 0.02


@dataclass(frozen=True)
class WorkerState:
    """One live worker's last heartbeat."""

    id: str
    change: int
    """Position in the change log whose routes it serves."""
    leases: Mapping[str, int]
    """Version id to requests in flight."""
    at: float
    """Seconds since the epoch."""
    pid: int


class RedisWorkers:
    """All live gateway workers, whichever machine they run on. Raises redis' errors when Redis is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def announce(self, change: int) -> None:
        """Tell every worker that the change log has grown; those that miss it poll."""
        await self._redis.publish(CHANGES_CHANNEL, str(change))

    async def live(self) -> list[WorkerState]:
        """Workers whose last heartbeat is younger than its time to live."""
        await self._redis.zremrangebyscore(WORKERS_KEY, "-inf", time.time() - FORGET_AFTER_S)
        ids = [_text(member) for member in await self._redis.zrange(WORKERS_KEY, 0, -1)]
        if not ids:
            return []
        states = await self._redis.mget([WORKER_KEY.format(id=worker) for worker in ids])
        return [_state(worker, raw) for worker, raw in zip(ids, states, strict=True) if raw]

    async def wait_for(self, change: int, deadline_s: float) -> int:
        """Wait until every live worker serves this position; returns how many there are, 0 when none lives.

        Raises WorkersBehind when one of them still serves an older position at the deadline.
        """
        give_up = time.monotonic() + deadline_s
        while True:
            workers = await self.live()
            behind = sum(worker.change < change for worker in workers)
            if not behind:
                return len(workers)
            if time.monotonic() >= give_up:
                raise WorkersBehind(change, behind)
            await asyncio.sleep(POLL_S)

    async def asked(self) -> Mapping[str, float]:
        """How often each version was asked for since the last call, by anybody."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hgetall(ASKED_KEY)
            pipe.delete(ASKED_KEY)
            counts, _ = await pipe.execute()
        return {_text(version_id): float(count) for version_id, count in counts.items()}

    async def tell_residency(self, residency: Mapping[str, Collection[str]]) -> None:
        """Which replica, by its URL, holds which versions."""
        where: dict[str, list[str]] = {}
        for url, versions in residency.items():
            for version_id in versions:
                where.setdefault(version_id, []).append(url)
        await self._redis.set(RESIDENCY_KEY, orjson.dumps(where, option=orjson.OPT_SORT_KEYS))

    async def leases(self) -> Mapping[str, int]:
        """Requests in flight by version id, over all live workers."""
        total: Counter[str] = Counter()
        for worker in await self.live():
            total.update(worker.leases)
        return total


def _state(worker: str, raw: bytes | str) -> WorkerState:
    state = orjson.loads(raw)
    return WorkerState(worker, state["change"], state["leases"], state["at"], state["pid"])


def _text(value: Any) -> str:
    """Redis answers bytes or text, as its client was told."""
    return value.decode() if isinstance(value, bytes) else str(value)
