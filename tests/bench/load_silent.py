"""Requests that the upstream never answers: what holding them costs."""

import asyncio
from collections.abc import Callable

from tests.bench.load import Requests

SETTLE_S = 1.0


async def held_open(port: int, requests: Requests, count: int, measure: Callable[[], int]) -> int:
    """What `measure` says while `count` requests wait; their clients then leave."""
    loop = asyncio.get_running_loop()
    transports = []
    for _ in range(count):
        transport, _ = await loop.create_connection(asyncio.Protocol, "127.0.0.1", port)
        transport.write(requests.next(kind=b"s")[1])
        transports.append(transport)
    await asyncio.sleep(SETTLE_S)
    measured = measure()
    for transport in transports:
        transport.abort()
    return measured
