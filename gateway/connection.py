"""A client's connection that holds nothing for ever: uvicorn's own, with bounds on time and size.

uvicorn bounds neither how long a request may take to arrive, nor how large its head and trailers may grow, nor how
long a client may leave its answer unread. Any of these would keep a socket, and with it a lease and a place.
"""

import asyncio
import re
from collections.abc import Callable
from itertools import chain
from typing import Any, ClassVar

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from gateway.asgi import CLIENT, Headers, Scope
from gateway.errors import GatewayError, HeadersTooLarge, InvalidRequest
from gateway.next_turn import NextTurn, next_turn
from gateway.protocol import new_id

MIN_BYTES = 512
"""What must arrive of an unfinished request within the client's patience."""
MAX_HEAD_BYTES = 64 * 1024
FRAMING = 16
"""Bytes that may come with each byte of a body: the smallest chunk has six."""


UPGRADE = re.compile(rb"\r\nupgrade:", re.IGNORECASE)


class Gathered:
    """A transport whose writes leave in the loop's next turn. uvicorn writes an answer's head and its body one after
    the other, and each would be a call to the kernel and a packet."""

    def __init__(self, transport: asyncio.Transport, turn: NextTurn) -> None:
        self._transport = transport
        self._turn = turn
        self._held: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._held:
            self._turn.call(self._flush)
        self._held.append(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        held, self._held = self._held, []
        if held and not self._transport.is_closing():
            self._transport.write(held[0] if len(held) == 1 else b"".join(held))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Connection(HttpToolsProtocol):
    """patience_s: how long a client may send, or take, next to nothing while it owes the one or the other; it is
    cut off after once to twice that time."""

    patience_s: ClassVar[float] = 30.0
    gone = False
    on_leave: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._out = Gathered(transport, next_turn(self.loop))
        super().connection_made(self._out)  # type: ignore[arg-type]
        self._expect()
        self._fresh = True
        self._unread = 0
        self._look = self.loop.call_later(self.patience_s, self._look_after)

    def connection_lost(self, exc: Exception | None) -> None:
        self._look.cancel()
        super().connection_lost(exc)
        self.gone = True
        if self.on_leave is not None:
            self.on_leave()

    def data_received(self, data: bytes) -> None:
        if self._fresh and b"pgrade:" in data:
            data = _without_upgrade(data)
        self._received += len(data)
        super().data_received(data)
        if self._arriving and self._received > MAX_HEAD_BYTES + FRAMING * self._body:
            self._end(HeadersTooLarge(f"Headers may have {MAX_HEAD_BYTES} bytes at most."))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope[CLIENT] = self  # type: ignore[literal-required]
        self._fresh = False
        self._expect()

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._body += len(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._arriving, self._fresh = False, True

    def write_chunk(self, data: bytes) -> bool:
        """A piece of a body that has no length. ASGI's `send` would do the same, with a message and a coroutine for
        each. Returns whether the client keeps up."""
        if not self.gone:
            self._out.write(b"%x\r\n%b\r\n" % (len(data), data))
        return not self.flow.write_paused

    def answer(self, scope: Scope, status: int, headers: Headers, body: bytes) -> bool:
        """A whole answer. ASGI's `send` would look at each character of the head anew. False, and nothing is
        done, where that has to wait: for a slow client, or for the answer to an earlier request."""
        cycle = self.cycle
        if cycle.scope is not scope or cycle.response_started or self.flow.write_paused:
            return False
        if cycle.disconnected:
            return True
        lines = [b"%b: %b\r\n" % field for field in chain(cycle.default_headers, headers)]
        fields = b"".join(lines)
        if fields.count(b"\n") != len(lines):
            raise ValueError("a header of more than one line")
        close = b"" if cycle.keep_alive else b"connection: close\r\n"
        length = b"content-length: %d\r\n\r\n" % len(body)
        cycle.response_started = cycle.response_complete = True
        self._out.write(b"".join((STATUS_LINE[status], fields, close, length, body)))
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()
        return True

    async def drained(self) -> None:
        """Returns when the client has caught up."""
        await self.flow.drain()

    def send_400_response(self, msg: str) -> None:
        """What cannot be parsed gets OpenAI's error object too."""
        self._end(InvalidRequest(msg))

    def _expect(self) -> None:
        """A request begins to arrive: the first look finds that it has made progress."""
        self._arriving = True
        self._received = self._body = 0
        self._looked_at = -MIN_BYTES

    def _look_after(self) -> None:
        """Once in each patience."""
        self._look = self.loop.call_later(self.patience_s, self._look_after)
        stalled = self._received - self._looked_at < MIN_BYTES and not self.flow.read_paused
        self._looked_at = self._received
        unread = self.transport.get_write_buffer_size() if self.flow.write_paused else 0
        ignored = 0 < self._unread <= unread
        self._unread = unread
        if ignored or (self._arriving and stalled):
            self.transport.abort()

    def _end(self, error: GatewayError) -> None:
        """Answer and close. A request that is being answered already is broken off."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.abort()
            return
        body = orjson.dumps(error.body())
        head = [
            STATUS_LINE[error.status],
            b"content-type: application/json\r\n",
            b"content-length: %d\r\n" % len(body),
            b"x-request-id: %b\r\n" % new_id("req_").encode(),
            b"connection: close\r\n\r\n",
        ]
        self.transport.write(b"".join([*head, body]))
        self.transport.close()


def _without_upgrade(data: bytes) -> bytes:
    """What was asked in HTTP/1.1 is answered in it: the JDK's client asks for HTTP/2 by the way, and a parser that sees
    that takes the request's body for the other protocol's."""
    head, end, rest = data.partition(b"\r\n\r\n")
    return UPGRADE.sub(b"\r\nx-upgrade:", head) + end + rest


def connections(patience_s: float) -> Any:
    """The class of a server's connections, for uvicorn's `http`."""
    return type("Connection", (Connection,), {"patience_s": patience_s})
