"""An engine that goes wrong in a way of one's choice, over bare sockets."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from tests.unit.gateway.stub_shapes import SHAPES

WHOLE = ("noise", "not json", "not an answer", "cut short", "500", "502", "reset")
"""Ways to go wrong with a whole answer."""
STREAMED = (
    *WHOLE[:1],
    "500",
    "502",
    "reset",
    "stream cut",
    "stream reset",
    "stream noise",
    "no stream at all",
)
SECRET = "/srv/models/ver_secret"
"""What only the engine knows."""
SLOW_S = 0.2
EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


@dataclass
class RoughEngine:
    """way: `well`, one of the above, `silent` or `endless`; a request may choose its own with `user: <way>`."""

    way: str = "well"
    url: str = ""
    asked: "Counter[str]" = field(default_factory=Counter)
    left: int = 0
    """Requests whose sender went away before their answer."""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                path, body = await _request(reader)
                if not await self._answer(path, body, reader, writer):
                    break
        with suppress(ConnectionError):
            writer.close()
            await writer.wait_closed()

    async def _answer(
        self, path: str, body: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Whether the connection can go on."""
        way = body.get("user") or self.way
        if path not in SHAPES:
            way = "well"
        self.asked[way] += 1
        match way:
            case "slow":
                await asyncio.sleep(SLOW_S)
                writer.write(_well(path, body))
            case "silent":
                self.left += not await reader.read(1)
            case "reset":
                writer.transport.abort()
            case "noise":
                writer.write(b"\x00\xff\xfe nothing like HTTP \r\n\r\n")
            case "cut short":
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{")
            case "500" | "502":
                writer.write(_whole(int(way), json.dumps({"error": {"message": SECRET}}).encode()))
            case "not json" | "no stream at all":
                writer.write(_whole(200, f"<html>{SECRET}</html>".encode()))
            case "not an answer":
                writer.write(
                    _whole(200, json.dumps({"model": SECRET, "choices": SECRET, "output": 5}).encode())
                )
            case "stream cut" | "stream reset" | "stream noise" | "endless":
                await self._stream(way, path, body, writer)
            case _:
                writer.write(_well(path, body))
                await writer.drain()
                return True
        if not writer.transport.is_closing():
            await writer.drain()
        return False

    async def _stream(self, way: str, path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        first, second, *_ = [event.encode() for event in SHAPES[path].events(body, ("Hello", " there"))]
        writer.write(EVENTS + _chunk(first) + _chunk(second))
        await writer.drain()
        match way:
            case "stream noise":
                writer.write(_chunk(b"\xff\x00 noise\n\n") + _chunk(b"data: {\n\n") + b"0\r\n\r\n")
            case "stream reset":
                await asyncio.sleep(0.02)
                writer.transport.abort()
            case "endless":
                try:
                    while True:
                        writer.write(_chunk(second * 100))
                        await writer.drain()
                finally:
                    self.left += 1


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _whole(status: int, body: bytes) -> bytes:
    return b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body)


def _well(path: str, body: dict[str, Any]) -> bytes:
    """The answer says whose prefix cache it came from."""
    if path not in SHAPES:
        return _whole(200, b"{}")
    words = (body["cache_salt"],)
    if body.get("stream"):
        events = "".join(SHAPES[path].events(body, words)).encode()
        return EVENTS + _chunk(events) + b"0\r\n\r\n"
    return _whole(200, json.dumps(SHAPES[path].answer(body, words)).encode())


async def _request(reader: asyncio.StreamReader) -> tuple[str, dict[str, Any]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
    lengths = [int(line.split(":")[1]) for line in head if line.startswith("content-length:")]
    body = await reader.readexactly(lengths[0]) if lengths else b"{}"
    return head[0].split()[1], json.loads(body or b"{}")


@asynccontextmanager
async def rough_engine() -> AsyncIterator[RoughEngine]:
    engine = RoughEngine()
    server = await asyncio.start_server(engine, "127.0.0.1", 0)
    engine.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield engine
    server.close()
