"""An answer's body without a client that takes it."""

import asyncio
from typing import Any

from gateway.engine_http import Answer


async def first(answer: Answer) -> bytes:
    """The first piece of a body, in the moment in which it comes."""
    taken: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def take(piece: bytes) -> bool:
        if not taken.done():
            taken.set_result(piece)
        return True

    pouring = asyncio.create_task(answer.pour(take, asyncio.Event().wait))
    either: list[asyncio.Future[Any]] = [taken, pouring]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    pouring.cancel()
    await asyncio.gather(pouring, return_exceptions=True)
    return taken.result()
