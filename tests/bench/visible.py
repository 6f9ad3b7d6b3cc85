"""When each worker begins to serve a moved alias, as clients of the workers see it.

A connection belongs to one worker. Over one to each of them a client asks what answers under the adapter's name, again
and again, until it is the version that it waits for.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import httpx
import psutil

from adapters.types import DEFAULT_ADAPTER
from tests.bench.processes import BenchError

TRIES = 100
PAUSE_S = 0.001
PATIENCE_S = 5.0


@dataclass(frozen=True)
class Client:
    """Of one worker. port: its own end of the connection."""

    http: httpx.AsyncClient
    port: int

    async def sees(self, label: str) -> float:
        """When (seconds since the epoch) the worker's first answer came that names this version. Raises BenchError."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                found, port = await _asked(self.http)
                if port != self.port:
                    raise BenchError("a worker closed the connection that it was watched over")
                if found == label:
                    return time.time()
                await asyncio.sleep(PAUSE_S)


class Watch:
    """All workers."""

    def __init__(self, clients: Sequence[Client]) -> None:
        self._clients = clients

    async def all_see(self, label: str) -> float:
        """When the last of them did."""
        return max(await asyncio.gather(*(client.sees(label) for client in self._clients)))


@asynccontextmanager
async def watching(url: str, headers: Mapping[str, str], workers: Sequence[int]) -> AsyncIterator[Watch]:
    """workers: process ids. Raises BenchError when one of them takes no connection."""
    async with AsyncExitStack() as stack:
        found: dict[int, Client] = {}
        for _ in range(TRIES):
            http = httpx.AsyncClient(
                base_url=url,
                headers=headers,
                trust_env=False,
                limits=httpx.Limits(max_connections=1, keepalive_expiry=None),
            )
            await stack.enter_async_context(http)
            _, port = await _asked(http)
            found.setdefault(_serving(port, workers), Client(http, port))
            if len(found) == len(workers):
                break
        else:
            raise BenchError(f"of {len(workers)} workers only {len(found)} answered {TRIES} connections")
        yield Watch(list(found.values()))


async def _asked(http: httpx.AsyncClient) -> tuple[str | None, int]:
    """The version that answers under the adapter's name, and this end's port of the connection."""
    async with http.stream("GET", f"/v1/models/{DEFAULT_ADAPTER}") as response:
        port: int = response.extensions["network_stream"].get_extra_info("client_addr")[1]
        await response.aread()
    return response.json().get("version"), port


def _serving(port: int, workers: Sequence[int]) -> int:
    """The worker at the other end. Raises BenchError."""
    for pid in workers:
        for connection in psutil.Process(pid).net_connections("tcp"):
            if connection.raddr and connection.raddr.port == port:
                return pid
    raise BenchError(f"no worker has the connection from port {port}")
