"""A load generator that costs little: raw HTTP/1.1 on uvloop, every answer checked against its own request."""

import asyncio
import math
import random
import re
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

BODY_BYTES = 2048
DRAIN_S = 5.0
"""How long answers may still come after the last request went out; those that do not are failures."""
WORDS = (
    "order",
    "return",
    "parcel",
    "refund",
    "invoice",
    "warranty",
    "address",
    "delivery",
    "account",
    "support",
)
LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)


class Requests:
    """Requests that are all different: a token each, its own text, the next key's turn.

    keys: bearer keys; none for a proxy that takes none. model: what the proxy calls the model.
    """

    def __init__(self, port: int, keys: Sequence[str], model: str) -> None:
        self._heads = [self._head(port, key) for key in keys or ("none",)]
        self._model = model.encode()
        self._numbers = count(1)
        rng = random.Random(1)
        self._text = " ".join(rng.choice(WORDS) for _ in range(20_000)).encode()

    @staticmethod
    def _head(port: int, key: str) -> bytes:
        return (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: Bearer {key}\r\n"
            f"content-type: application/json\r\ncontent-length: "
        ).encode()

    def next(self, more: bytes = b"", kind: bytes = b"q") -> tuple[bytes, bytes]:
        """A token and the request's bytes. more: further fields of the body, as JSON without braces."""
        number = next(self._numbers)
        token = b"bench-%b-%09d" % (kind, number)
        start = number * 37 % (len(self._text) - BODY_BYTES)
        head = b'{"model":"%b","messages":[{"role":"user","content":"%b ' % (self._model, token)
        tail = b'"}],"temperature":0%b}' % (b"," + more if more else b"")
        body = head + self._text[start : start + BODY_BYTES - len(head) - len(tail)] + tail
        return token, self._heads[number % len(self._heads)] + b"%d\r\n\r\n" % len(body) + body


@dataclass
class Seen:
    """What a load came to. Times in seconds."""

    latencies: list[float] = field(default_factory=list)
    wrong: int = 0
    """Answers that were none, were late, or belonged to another request."""
    seconds: float = 0.0
    example: str = ""
    """One of the wrong ones."""

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        return percentile(self.latencies, share)

    def refuse(self, answer: bytes) -> None:
        self.wrong += 1
        self.example = self.example or answer[:300].decode(errors="replace")


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of all values do not exceed; infinite when there is none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else float("inf")


class Load:
    """Who asks next, and when to stop."""

    def __init__(self, requests: Requests) -> None:
        self.requests = requests
        self.seen = Seen()
        self.connections: list[Connection] = []
        self.open: set[Connection] = set()
        self._idle = asyncio.Event()

    def answered(self, connection: "Connection") -> None:
        """A connection is free again."""
        raise NotImplementedError

    def asked(self, connection: "Connection") -> None:
        self.open.add(connection)
        self._idle.clear()

    def ended(self, connection: "Connection") -> None:
        self.open.discard(connection)
        if not self.open:
            self._idle.set()

    async def drained(self, give_up: float) -> None:
        """Returns when no request is open, at the latest at `give_up`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, give_up - time.monotonic())):
                await self._idle.wait()

    async def connect(self, port: int, count: int) -> Sequence["Connection"]:
        loop = asyncio.get_running_loop()
        for _ in range(count):
            _, made = await loop.create_connection(lambda: Connection(self), "127.0.0.1", port)
            self.connections.append(made)
        return self.connections


class Connection(asyncio.Protocol):
    """One kept-alive connection with at most one request on it."""

    transport: asyncio.Transport

    def __init__(self, load: Load) -> None:
        self._load = load
        self._buffer = b""
        self._token = b""
        self._due = 0.0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def ask(self, due: float) -> None:
        """due: the time from which the answer's latency counts."""
        self._token, request = self._load.requests.next()
        self._due = due
        self._load.asked(self)
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if self._token and whole(self._buffer):
            answer, self._buffer = self._buffer, b""
            self._finish(answer)

    def connection_lost(self, error: Exception | None) -> None:
        if self._token:
            self._token = b""
            self._load.ended(self)
            self._load.seen.refuse(b"connection lost: " + str(error).encode() + self._buffer)

    def _finish(self, answer: bytes) -> None:
        seen = self._load.seen
        if answer[9:12] == b"200" and self._token in answer:
            seen.latencies.append(time.monotonic() - self._due)
        else:
            seen.refuse(answer)
        self._token = b""
        self._load.answered(self)
        if not self._token:
            self._load.ended(self)


def whole(answer: bytes) -> bool:
    """Whether an HTTP answer is complete."""
    head = answer.find(b"\r\n\r\n")
    if head < 0:
        return False
    length = LENGTH.search(answer, 0, head)
    return len(answer) >= head + 4 + int(length[1]) if length else answer.endswith(b"0\r\n\r\n")


class ClosedLoop(Load):
    """Every connection asks again as soon as it has been answered."""

    def __init__(self, requests: Requests, until: float, most: int | None = None) -> None:
        super().__init__(requests)
        self._until = until
        self._left = most

    def answered(self, connection: Connection) -> None:
        now = time.monotonic()
        if self._left is not None:
            self._left -= 1
        if now < self._until and (self._left is None or self._left > 0):
            connection.ask(now)


class OpenLoop(Load):
    """Requests leave on the clock; one that finds no free connection waits, and its wait counts."""

    def __init__(self, requests: Requests) -> None:
        super().__init__(requests)
        self._free: deque[Connection] = deque()
        self._waiting: deque[float] = deque()

    def answered(self, connection: Connection) -> None:
        if self._waiting:
            connection.ask(self._waiting.popleft())
        else:
            self._free.append(connection)

    def fire(self) -> None:
        now = time.monotonic()
        if self._free:
            self._free.popleft().ask(now)
        else:
            self._waiting.append(now)

    @property
    def unanswered(self) -> int:
        return len(self.open) + len(self._waiting)


async def closed_loop(
    port: int, requests: Requests, connections: int, seconds: float, most: int | None = None
) -> Seen:
    """As fast as `connections` can; ends after `seconds`, or after `most` answers."""
    start = time.monotonic()
    load = ClosedLoop(requests, start + seconds, most)
    for connection in await load.connect(port, connections):
        connection.ask(time.monotonic())
    await load.drained(start + seconds + DRAIN_S)
    load.seen.seconds = time.monotonic() - start
    return _ended(load, len(load.open))


async def open_loop(
    port: int, requests: Requests, rate: float, seconds: float, connections: int = 256
) -> Seen:
    """`rate` requests a second at random moments, the same ones in every run."""
    load = OpenLoop(requests)
    for connection in await load.connect(port, connections):
        load.answered(connection)
    start = time.monotonic()
    for moment in moments(rate, seconds):
        await asyncio.sleep(max(0.0, start + moment - time.monotonic()))
        load.fire()
    await load.drained(start + seconds + DRAIN_S)
    load.seen.seconds = time.monotonic() - start
    return _ended(load, load.unanswered)


def moments(rate: float, seconds: float) -> Iterator[float]:
    """A Poisson process, always the same."""
    rng, now = random.Random(7), 0.0
    while (now := now + rng.expovariate(rate)) < seconds:
        yield now


def _ended(load: Load, unanswered: int) -> Seen:
    """What is still open is wrong; closing its connection does not count it twice."""
    seen, load.seen = load.seen, Seen()
    for connection in load.connections:
        connection.transport.abort()
    seen.wrong += unanswered
    return seen
