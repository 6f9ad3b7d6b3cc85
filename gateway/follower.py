"""Keeps a worker's snapshot current: woken by Redis within milliseconds, or by a clock within a second."""

import asyncio
import logging

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from adapters.tasks import end
from gateway.hints import hint_in
from gateway.leases import Heartbeat
from gateway.loader import SnapshotLoader
from gateway.snapshot import CurrentSnapshot, Snapshot
from gateway.workers import CHANGES_CHANNEL

log = logging.getLogger(__name__)

POLL_S = 0.8
"""A change that no event told of is served within a second, the read included. To find nothing new takes two
thirds of a millisecond of a worker's core (SQLite)."""


class Follower:
    """Owns the one place where the current snapshot is replaced: by what SQL says, and until it is read by what a hint
    says of one alias. While SQL is away, the last snapshot serves."""

    def __init__(
        self, loader: SnapshotLoader, redis: Redis, current: CurrentSnapshot, heartbeat: Heartbeat
    ) -> None:
        self._loader = loader
        self._redis = redis
        self._current = current
        self._heartbeat = heartbeat
        self._known = current.value
        """As SQL had it."""
        self._newest = 0
        """Position up to which no hint is news."""
        self._listening = True
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load everything, then follow. Raises SQLAlchemyError when the record cannot be read at all."""
        self._apply(await self._loader.load())
        self._task = asyncio.create_task(self._run(), name="snapshot-follower")

    async def close(self) -> None:
        if self._task:
            await end(self._task)

    async def catch_up(self) -> None:
        """Apply what the change log holds beyond the current position."""
        try:
            fresh = await self._loader.follow(self._known)
        except (SQLAlchemyError, OSError) as error:
            log.warning("the record cannot be read, the last snapshot stays: %s", error)
            return
        if fresh is not self._current.value:
            self._apply(fresh)

    def foresee(self, data: bytes | str) -> None:
        """Serve a hinted move at once, until the record has been read: what that says stays, and is reported."""
        hint = hint_in(data)
        if hint is not None and hint.change > self._newest:
            self._newest = hint.change
            self._current.value = self._current.value.with_hint(hint)

    def _apply(self, fresh: Snapshot) -> None:
        self._known = self._current.value = fresh
        self._newest = fresh.position
        self._heartbeat.applied(fresh.position)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                async with self._redis.pubsub() as channel:
                    async with asyncio.timeout(POLL_S):  # a Redis may take a connection and say nothing
                        await channel.subscribe(CHANGES_CHANNEL)
                    self._listening = True
                    await self._listen(channel)
            except (RedisError, OSError) as error:
                if self._listening:
                    log.warning("no change events until Redis is back, polling: %r", error)
                self._listening = False
                await asyncio.sleep(began + POLL_S - loop.time())
                await self.catch_up()

    async def _listen(self, channel: PubSub) -> None:
        while True:
            event = await channel.get_message(ignore_subscribe_messages=True, timeout=POLL_S)
            if event is not None:
                self.foresee(event["data"])
            await self.catch_up()
