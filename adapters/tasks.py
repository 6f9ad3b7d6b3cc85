"""Ending background tasks."""

import asyncio

AGAIN_S = 0.5


async def end(*tasks: "asyncio.Task[None]") -> None:
    """Cancel tasks until each has ended; what they raise is theirs.

    Once is not always enough: a cancellation that meets a time limit of the Redis client comes out of it as an error,
    and a loop that survives errors goes on.
    """
    waiting = set(tasks)
    while waiting:
        for task in waiting:
            task.cancel()
        _, waiting = await asyncio.wait(waiting, timeout=AGAIN_S)
