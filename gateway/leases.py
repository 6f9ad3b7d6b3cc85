"""Leases: which versions have requests in flight in this worker, and the heartbeat that tells the others.

Counting happens in memory, so that no request pays a round trip; the heartbeat carries the counts to Redis
every 0.3 s, and at once when the worker has applied a change or when the last request of before a change ended.
"""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Collection, Mapping

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

from adapters.slot_ledger import WORKER_KEY
from adapters.tasks import end
from gateway.demand import Demand
from gateway.quota import Share

log = logging.getLogger(__name__)

WORKERS_KEY = "graft:workers"
"""Sorted set of worker ids by the time of their last heartbeat (seconds since the epoch, by Redis' clock)."""
TTL_MS = 3000
INTERVAL_S = 0.3
FIRST_S = 0.25
"""How long a worker's start waits for its first heartbeat: a Redis that takes longer is as good as gone."""
MIN_GAP_S = 0.005
"""Heartbeats asked for out of turn are at least this far apart."""
ASKED_KEY = "graft:asked"
"""Hash of version ids by the requests since control last looked."""
RESIDENCY_KEY = "graft:residency"
"""JSON that control writes: version id to the URLs of the replicas that hold it."""
DRAINED_KEY = "graft:drained"
"""JSON that control writes: URLs of the replicas that get no new requests."""
DEMAND_CHANNEL = "graft:demand"
"""Something is published here when a version is, or will be, asked for that no replica may hold."""
ASKED_SCRIPT = """
for version, count in pairs(cjson.decode(ARGV[1])) do redis.call('HINCRBYFLOAT', KEYS[1], version, count) end
"""
BEAT_SCRIPT = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
redis.call('ZADD', KEYS[1], now, ARGV[1])
return redis.call('ZRANGEBYSCORE', KEYS[1], now - ARGV[2] / 1000, '+inf')
"""
"""By one clock, wherever workers run: who takes another for dead divides the limits by too few."""


class Leases:
    """Requests in flight by version id. Not thread-safe: it lives on the event loop."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._watched: set[str] = set()
        self.ended = asyncio.Event()
        """Set when a watched version's count falls to zero, or by whoever wants the counts reported now."""
        self.lacking = False
        """Whether a request waits for a version that its replica does not hold."""

    def acquire(self, version_id: str) -> None:
        self._counts[version_id] = self._counts.get(version_id, 0) + 1

    def release(self, version_id: str) -> None:
        left = self._counts[version_id] - 1
        if left:
            self._counts[version_id] = left
            return
        del self._counts[version_id]
        if version_id in self._watched:
            self._watched.remove(version_id)
            self.ended.set()

    def held(self, version_id: str | None) -> "Lease":
        """A lease for as long as the context lasts; none for the base model."""
        return Lease(self, version_id)

    def report(self) -> None:
        """Ask for a heartbeat out of turn, and for another when a version that has requests now has none."""
        self._watched = set(self._counts)
        self.ended.set()

    def lack(self) -> None:
        """A replica did not know a version: control shall look at once."""
        self.lacking = True
        self.ended.set()

    def counts(self) -> Mapping[str, int]:
        return dict(self._counts)


class Lease:
    """What `Leases.held` gives. A generator's context would take three times as long."""

    __slots__ = ("_leases", "_version_id")

    def __init__(self, leases: Leases, version_id: str | None) -> None:
        self._leases, self._version_id = leases, version_id

    def __enter__(self) -> None:
        if self._version_id is not None:
            self._leases.acquire(self._version_id)

    def __exit__(self, *_: object) -> None:
        if self._version_id is not None:
            self._leases.release(self._version_id)


class Heartbeat:
    """Writes this worker's state until closed. A Redis that is away costs the heartbeat, never a request.

    expected: workers to share limits with until Redis has said how many live.
    """

    def __init__(
        self,
        redis: Redis,
        worker_id: str,
        leases: Leases,
        expected: int = 1,
        demand: Demand | None = None,
        running: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        """running: requests that are, or will be, at each replica, by its URL."""
        self._redis = redis
        self._id = worker_id
        self._leases = leases
        self._demand = demand or Demand()
        self._residency = b""
        self.residency: Mapping[str, Collection[str]] = {}
        """Version id to the URLs of the replicas that hold it, as control last saw it."""
        self._running = running
        self.drained: Collection[str] = ()
        """URLs of the replicas that get no new requests, as control last said."""
        self.share = Share(expected, expected - 1)
        """This worker among those that lived at the last heartbeat."""
        self._change = 0
        self._written = True
        self._due = 0.0
        """When the demand is told next, by the monotonic clock."""
        self._task: asyncio.Task[None] | None = None

    def applied(self, change: int) -> None:
        """The worker now serves the routes of this position in the change log."""
        self._change = change
        self._leases.report()

    async def start(self) -> None:
        """Others count this worker from here on, unless Redis stands still: then from when it moves again."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_S):
                await self._write()
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        if self._task:
            await end(self._task)
        with contextlib.suppress(RedisError, OSError):
            await self._redis.delete(WORKER_KEY.format(id=self._id))
            await self._redis.zrem(WORKERS_KEY, self._id)

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(INTERVAL_S):
                    await self._leases.ended.wait()
            self._leases.ended.clear()
            await self._write()
            await asyncio.sleep(MIN_GAP_S)

    async def _write(self) -> None:
        now = time.time()
        state = {"change": self._change, "leases": self._leases.counts(), "at": now, "pid": os.getpid()}
        state |= {"running": self._running(), "drained": self.drained}
        fresh, asked = self._demand_due()
        urgent = self._leases.lacking or (fresh and not asked.keys() <= self.residency.keys())
        self._leases.lacking = False
        try:
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.set(WORKER_KEY.format(id=self._id), orjson.dumps(state), px=TTL_MS)
                if asked:
                    pipe.eval(ASKED_SCRIPT, 1, ASKED_KEY, orjson.dumps(asked))
                if urgent:
                    pipe.publish(DEMAND_CHANNEL, self._id)
                pipe.mget(RESIDENCY_KEY, DRAINED_KEY)
                pipe.eval(BEAT_SCRIPT, 1, WORKERS_KEY, self._id, TTL_MS)
                *_, (residency, drained), live = await pipe.execute()
            self._written = True
            self._read(residency)
            if drained is not None:  # a Redis that was started anew has not been told yet
                self.drained = orjson.loads(drained)
            names = sorted(name.decode() if isinstance(name, bytes) else name for name in live)
            self.share = Share(len(names), names.index(self._id))
        except (RedisError, OSError) as error:
            if self._written:
                log.warning("no heartbeat until Redis is back: %s", error)
            self._written = False
            self._demand.give_back(asked)

    def _demand_due(self) -> tuple[bool, Mapping[str, float]]:
        """Heartbeats out of turn do not carry it, unless a request waits for it to be met."""
        now = time.monotonic()
        if now < self._due and not self._leases.lacking:
            return False, {}
        self._due = now + INTERVAL_S
        return self._demand.fresh, self._demand.take()

    def _read(self, residency: bytes | None) -> None:
        raw = residency or b"{}"
        if raw != self._residency:
            self._residency, self.residency = raw, orjson.loads(raw)
