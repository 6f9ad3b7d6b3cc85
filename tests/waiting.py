"""No test sleeps: it waits on a condition."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable

WITHIN_S = 30.0


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Raises TimeoutError when the condition has not come true in time."""
    end = time.monotonic() + WITHIN_S
    while time.monotonic() < end:
        found = condition()
        if await found if inspect.isawaitable(found) else found:
            return
        await asyncio.sleep(0.005)
    raise TimeoutError("the condition did not come true")
