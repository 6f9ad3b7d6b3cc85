"""The gateway workers as control sees them: told of a change, waited for, asked for their leases.

Implements the port `adapters.swap.Workers` over what `gateway.leases` writes.
"""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

from adapters.errors import WorkersBehind, WorkersUnseen
from adapters.slot_ledger import WORKER_KEY
from adapters.types import AliasMove
from gateway.hints import Hint
from gateway.leases import ASKED_KEY, DEMAND_CHANNEL, DRAINED_KEY, RESIDENCY_KEY, TTL_MS, WORKERS_KEY

log = logging.getLogger(__name__)

CHANGES_CHANNEL = "graft:changes"
"""A change's position is published here after its transaction has committed; of a moved alias, a hint."""
FORGET_AFTER_S = 60.0
FORGET_SCRIPT = "redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', redis.call('TIME')[1] - ARGV[1])"
POLL_S = 0.005


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
    running: Mapping[str, int]
    """Requests from it by the URL of their replica."""
    drained: Collection[str]
    """URLs of the replicas to which it sends no new ones."""


class RedisWorkers:
    """All live gateway workers, whichever machine they run on.

    A Redis that has just been started has lost heartbeats of workers that live. Until each has had the time to write
    another one, nothing is concluded from those that are missing.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._run_id: str | None = None
        """Of the Redis process whose heartbeats are complete."""

    async def announce(self, change: int, move: AliasMove | None = None) -> None:
        """Tell every worker that the change log has grown; those that miss it, and all while Redis is away, poll."""
        event = str(change) if move is None else Hint.of(move).encoded()
        try:
            await self._redis.publish(CHANGES_CHANNEL, event)
        except (RedisError, OSError) as error:
            log.warning("change %d is not announced: %s", change, error)

    async def live(self) -> list[WorkerState]:
        """Workers whose last heartbeat is younger than its time to live. Raises redis' errors when Redis is away."""
        return [worker for worker in await self._named() if worker is not None]

    async def wait_for(self, change: int, deadline_s: float) -> int:
        """Wait until every live worker serves this position; returns how many there are, 0 when none lives.

        Raises WorkersBehind when one of them still serves an older position at the deadline, WorkersUnseen when
        Redis cannot tell.
        """
        give_up = time.monotonic() + deadline_s
        while True:
            try:
                workers = await self.everyone(change)
                behind = sum(worker.change < change for worker in workers)
                if not behind:
                    return len(workers)
                late = WorkersBehind(change, behind)
            except WorkersUnseen as error:
                late = error
            if time.monotonic() >= give_up:
                raise late
            await asyncio.sleep(POLL_S)

    async def leases(self) -> Mapping[str, int]:
        """Requests in flight by version id, over all live workers. Raises WorkersUnseen when Redis cannot tell."""
        return leases_of(await self.everyone())

    async def _named(self) -> list[WorkerState | None]:
        """Everybody of the last minute; None for one without a heartbeat."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.eval(FORGET_SCRIPT, 1, WORKERS_KEY, FORGET_AFTER_S)
            pipe.sort(WORKERS_KEY, by="nosort", get=["#", WORKER_KEY.format(id="*")], groups=True)
            _, found = await pipe.execute()
        return [_state(_text(worker), raw) if raw else None for worker, raw in found]

    async def asked(self) -> Mapping[str, float]:
        """How often each version was asked for since the last call, by anybody."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hgetall(ASKED_KEY)
            pipe.delete(ASKED_KEY)
            counts, _ = await pipe.execute()
        return {_text(version_id): float(count) for version_id, count in counts.items()}

    async def tell_residency(
        self, residency: Mapping[str, Collection[str]], drained: Collection[str] = ()
    ) -> None:
        """Which replica, by its URL, holds which versions, and which get no new requests."""
        where: dict[str, list[str]] = {}
        for url, versions in residency.items():
            for version_id in versions:
                where.setdefault(version_id, []).append(url)
        await self._redis.mset(
            {
                RESIDENCY_KEY: orjson.dumps(where, option=orjson.OPT_SORT_KEYS),
                DRAINED_KEY: orjson.dumps(sorted(drained)),
            }
        )

    async def look_now(self) -> None:
        """Have control's leader look at the replicas without waiting for its next pass. May be lost."""
        with contextlib.suppress(RedisError, OSError):
            await self._redis.publish(DEMAND_CHANNEL, "control")

    async def everyone(self, change: int = 0) -> list[WorkerState]:
        """As `live`, but only when it can be trusted to name every one; one that serves an older position than this is
        enough. Raises WorkersUnseen."""
        try:
            named = await self._named()
            live = [worker for worker in named if worker is not None]
            if any(worker.change < change for worker in live):
                return live  # whoever is missing besides, the answer is the same
            server = await self._redis.info("server")
        except (RedisError, OSError) as error:
            raise WorkersUnseen(change, f"Redis is away: {type(error).__name__}") from error
        young = server["uptime_in_seconds"] * 1000 <= TTL_MS
        if young and (None in named or self._run_id not in (None, server["run_id"])):
            raise WorkersUnseen(change, "Redis was started a moment ago")
        self._run_id = server["run_id"]
        return live


def leases_of(workers: Iterable[WorkerState]) -> Counter[str]:
    """Requests in flight by version id."""
    total: Counter[str] = Counter()
    for worker in workers:
        total.update(worker.leases)
    return total


def _state(worker: str, raw: bytes | str) -> WorkerState:
    state = orjson.loads(raw)
    told = state["change"], state["leases"], state["at"], state["pid"]
    return WorkerState(worker, *told, state.get("running", {}), state.get("drained", ()))


def _text(value: Any) -> str:
    """Redis answers bytes or text, as its client was told."""
    return value.decode() if isinstance(value, bytes) else str(value)
