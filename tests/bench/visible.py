"""When each worker begins to serve a moved alias, as clients of the workers see it.

A connection belongs to one worker. Over one to each of them a client asks what answers under the adapter's name, again
and again, until it is the version that it waits for. Each question costs a millisecond or two of the core that the
workers share with control and all clients, so they are few, and what counts is the middle between the last answer that
named another version and the first that names this one.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from urllib.parse import urlsplit

import orjson
import psutil

from adapters.types import DEFAULT_ADAPTER
from tests.bench.processes import BenchError

TRIES = 100
PAUSE_S = 0.015
PATIENCE_S = 5.0
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Client:
    """Of one worker, over one connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    request: bytes

    @property
    def port(self) -> int:
        """This end's."""
        own: int = self.writer.get_extra_info("sockname")[1]
        return own

    async def sees(self, label: str) -> float:
        """When (monotonic seconds) the worker began to name this version, give or take half of `PAUSE_S`. Raises
        BenchError."""
        before = time.monotonic()
        async with asyncio.timeout(PATIENCE_S):
            while await self.asked() != label:
                before = time.monotonic()
                await asyncio.sleep(PAUSE_S)
        return (before + time.monotonic()) / 2

    async def asked(self) -> str | None:
        """The version that answers under the adapter's name. Raises BenchError."""
        self.writer.write(self.request)
        try:
            length = LENGTH.search(await self.reader.readuntil(b"\r\n\r\n"))
            body = await self.reader.readexactly(int(length[1]) if length else 0)
        except asyncio.IncompleteReadError as error:
            raise BenchError("a worker closed the connection that it was watched over") from error
        version: str | None = orjson.loads(body).get("version")
        return version


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
    place = urlsplit(url)
    told = "".join(f"{name}: {value}\r\n" for name, value in {"host": place.netloc, **headers}.items())
    request = f"GET /v1/models/{DEFAULT_ADAPTER} HTTP/1.1\r\n{told}\r\n".encode()
    found: dict[int, Client] = {}
    with ExitStack() as stack:
        for _ in range(TRIES):
            reader, writer = await asyncio.open_connection(place.hostname, place.port)
            stack.enter_context(closing(writer))
            client = Client(reader, writer, request)
            await client.asked()
            found.setdefault(_serving(client.port, workers), client)
            if len(found) == len(workers):
                break
        else:
            raise BenchError(f"of {len(workers)} workers only {len(found)} answered {TRIES} connections")
        yield Watch(list(found.values()))


def _serving(port: int, workers: Sequence[int]) -> int:
    """The worker at the other end. Raises BenchError."""
    for pid in workers:
        for connection in psutil.Process(pid).net_connections("tcp"):
            if connection.raddr and connection.raddr.port == port:
                return pid
    raise BenchError(f"no worker has the connection from port {port}")
