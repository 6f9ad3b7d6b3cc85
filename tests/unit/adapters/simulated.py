"""Simulated time: nothing waits for a real clock."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Iterable
from typing import Any


class Instant(selectors.DefaultSelector):
    """Waits by moving a clock."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready and timeout:
            self.now += timeout
        return ready


def simulate(play: Callable[[], Coroutine[Any, Any, None]]) -> None:
    selector = Instant()
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = lambda: selector.now  # type: ignore[method-assign]
    try:
        loop.run_until_complete(play())
        loop.run_until_complete(_end(asyncio.all_tasks(loop)))
    finally:
        loop.close()


async def _end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """What a test has left running."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
