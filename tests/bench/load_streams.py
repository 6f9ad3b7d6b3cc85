"""Many paced streams at once. Each chunk says when the upstream wrote it, so its delay on the way is known."""

import asyncio
import re
import time
from dataclasses import dataclass, field
from typing import Any

from tests.bench.load import Requests, percentile

PER_SECOND = 50
LATE_S = 10.0
"""How long after its due end a stream may still be open before it counts as unfinished."""
CHUNK = re.compile(rb'"(bench-q-\d{9}) (\d+) (\d+) "')


@dataclass
class Streams:
    """What all streams came to. Times in seconds."""

    delays: list[float] = field(default_factory=list)
    """From the upstream's write to our read, of the chunks inside the window."""
    first: list[float] = field(default_factory=list)
    """From the request to its first chunk."""
    chunks: int = 0
    """All of them, inside the window or not."""
    finished: int = 0
    wrong: int = 0
    """Streams with a chunk that was lost, out of turn or another's, or without an end."""
    window: tuple[float, float] = (0.0, float("inf"))
    example: str = ""

    @property
    def rate(self) -> float:
        return len(self.delays) / (self.window[1] - self.window[0])

    def delay(self, share: float) -> float:
        return percentile(self.delays, share)


class Reader(asyncio.Protocol):
    """One connection with one stream; `ended` is set when it is over, however."""

    transport: asyncio.Transport

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._rest = b""
        self._token = b""
        self._next = self._chunks = 0
        self._asked = 0.0
        self._right = True
        self.ended = asyncio.Event()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def ask(self, requests: Requests, chunks: int) -> None:
        self._token, request = requests.next(b'"stream":true,"max_tokens":%d' % chunks)
        self._chunks = chunks
        self._asked = time.monotonic()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        data = self._rest + data
        cut = data.rfind(b"\n\n") + 2
        if cut < 2:
            self._rest = data
            return
        self._rest = data[cut:]
        for token, number, written in CHUNK.findall(data, 0, cut):
            self._count(token, int(number), int(written) / 1e9, now)
        if b"data: [DONE]" in data:
            self._end(self._right and self._next == self._chunks, data)

    def _count(self, token: bytes, number: int, written: float, now: float) -> None:
        streams = self._streams
        self._right = self._right and token == self._token and number == self._next
        self._next = number + 1
        streams.chunks += 1
        if number == 0:
            streams.first.append(now - self._asked)
        if streams.window[0] <= now < streams.window[1]:
            streams.delays.append(now - written)

    def connection_lost(self, error: Exception | None) -> None:
        self._end(False, self._rest)

    def _end(self, right: bool, data: bytes) -> None:
        if self.ended.is_set():
            return
        self.ended.set()
        self._streams.finished += 1
        if not right:
            self._streams.wrong += 1
            self._streams.example = self._streams.example or data[:300].decode(errors="replace")
        self.transport.close()


async def run_streams(port: int, requests: Requests, count: int, seconds: float, ramp: float) -> Streams:
    """`count` streams that begin evenly over `ramp` seconds; what arrives in the `seconds` after it is measured."""
    loop = asyncio.get_running_loop()
    start = time.monotonic()
    streams = Streams(window=(start + ramp, start + ramp + seconds))
    chunks = int((ramp + seconds) * PER_SECOND)
    readers: list[Reader] = []
    for number in range(count):
        await asyncio.sleep(max(0.0, start + ramp * number / count - time.monotonic()))
        _, reader = await loop.create_connection(lambda: Reader(streams), "127.0.0.1", port)
        reader.ask(requests, chunks)
        readers.append(reader)
    for reader in readers:
        await _end_of(reader, start + 2 * ramp + seconds + LATE_S)
    return streams


async def first_chunks(port: int, requests: Requests, count: int) -> Streams:
    """Short streams one after the other, each on a connection that is open already."""
    loop = asyncio.get_running_loop()
    streams = Streams()
    for _ in range(count):
        _, reader = await loop.create_connection(lambda: Reader(streams), "127.0.0.1", port)
        await asyncio.sleep(0.002)
        reader.ask(requests, 1)
        await _end_of(reader, time.monotonic() + LATE_S)
    return streams


async def _end_of(reader: Reader, give_up: float) -> None:
    try:
        async with asyncio.timeout(max(0.0, give_up - time.monotonic())):
            await reader.ended.wait()
    except TimeoutError:
        reader.transport.abort()
        await reader.ended.wait()
