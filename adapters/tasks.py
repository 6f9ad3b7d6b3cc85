"""Background tasks: ending them, and not waiting for those that take long."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Hashable, Iterable
from typing import Any, Generic, TypeVar

log = logging.getLogger(__name__)

AGAIN_S = 0.5
Found = TypeVar("Found")


async def end(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel tasks until each has ended; what they raise is theirs.

    Once is not always enough: a cancellation that meets a time limit of the Redis client comes out of it as an error,
    and a loop that survives errors goes on.
    """
    waiting = set(tasks)
    while waiting:
        for task in waiting:
            task.cancel()
        _, waiting = await asyncio.wait(waiting, timeout=AGAIN_S)


class InTurn(Generic[Found]):
    """Work that is done one after the other, where none holds up the rest: what takes longer than `patience_s` goes on
    by itself, and what fails is logged, whenever it does."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._running: dict[Hashable, asyncio.Task[Found]] = {}

    async def do(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, Found]]) -> list[Found]:
        """What came of it; nothing if it failed, and while it goes on, when it is not begun again either."""
        if key in self._running:
            return []
        task = self._running[key] = asyncio.create_task(work())
        await asyncio.wait([task], timeout=self._patience_s)
        return self._over([key]) if task.done() else []

    def __contains__(self, key: object) -> bool:
        """Whether it goes on by itself, or has ended and `ended` has not said so yet."""
        return key in self._running

    def ended(self) -> list[Found]:
        """What has come by now of all that went on by itself."""
        return self._over([key for key, task in self._running.items() if task.done()])

    async def close(self) -> None:
        """Ends what goes on."""
        await end(*self._running.values())
        self._running.clear()

    def _over(self, keys: Iterable[Hashable]) -> list[Found]:
        found: list[Found] = []
        for key in keys:
            task = self._running.pop(key)
            if task.cancelled():
                continue
            if (error := task.exception()) is None:
                found.append(task.result())
            else:
                log.warning("%s failed", key, exc_info=error)
        return found
