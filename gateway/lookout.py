"""Looks whether the replicas answer at all.

One that stands still fails no request: those that it has wait for as long as an engine may be silent, and more would
join them. Asked for its health it is found out within seconds, and its breaker opens.
"""

import asyncio
from collections.abc import Awaitable, Callable

from adapters.tasks import end
from gateway.replicas import Replica, Replicas

LOOK_EVERY_S = 1.0


class Lookout:
    """well: whether the replica of this URL says that it is ready; takes seconds at most."""

    def __init__(self, replicas: Replicas, well: Callable[[str], Awaitable[bool]]) -> None:
        self._replicas = replicas
        self._well = well
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Each replica is looked at by itself: one that says nothing delays no other's look."""
        self._tasks = [asyncio.create_task(self._run(replica)) for replica in self._replicas.with_others]

    async def close(self) -> None:
        if self._tasks:
            await end(*self._tasks)

    async def _run(self, replica: Replica) -> None:
        while True:
            await self.look(replica)
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self, replica: Replica) -> None:
        """A failure counts like a request's. That one says to be well closes no breaker: only an answer does."""
        if not await self._well(replica.url):
            self._replicas.failed(replica)
