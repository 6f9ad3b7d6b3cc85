"""One HTTP/1.1 connection to an engine, on the event loop itself, because it is the hot path: a client with threads of
its own wakes the loop for every chunk of every stream.

It knows what engines do and nothing more: no redirects, no compression, and an answer says how long it is (by
`content-length` or in chunks).
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import httptools

from gateway.next_turn import next_turn

READ_AHEAD = 64 * 1024
"""Bytes of an answer that may lie here unread; then the engine has to wait."""

ANSWER_BYTES = 256 * 1024 * 1024
"""Of a whole answer: what is longer is none."""

Sink = Callable[[bytes], bool]
"""Takes a piece of a body; whether it takes another one now."""


class EngineHttpError(Exception):
    """Base of what can happen on the way to an engine and back."""


class NotConnected(EngineHttpError):
    """Nobody took the connection; the engine knows nothing of the request."""


class BrokenOff(EngineHttpError):
    """The connection ended before the answer did, or what came is not HTTP."""


class TooLong(EngineHttpError):
    """A whole answer of more than ANSWER_BYTES."""


class Silent(EngineHttpError):
    """The engine has said nothing for too long."""


class Connection(asyncio.Protocol):
    """One connection with one exchange at a time. timeout_s: longest silence. ended: told when there can be no further
    exchange."""

    transport: asyncio.Transport

    def __init__(self, timeout_s: float, ended: Callable[["Connection"], None]) -> None:
        self._timeout_s = timeout_s
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._turn = next_turn(self._loop)
        self._parser = httptools.HttpResponseParser(self)
        self._parts: list[bytes] = []
        self._held = 0
        self._heard = 0.0
        self._waiter: asyncio.Future[None] | None = None
        self._error: EngineHttpError | None = None
        self._paused = False
        self._sink: Sink | None = None
        self._full = False
        self.status = 0
        """Of the answer; 0 until its head has come."""
        self.complete = True
        """Whether the answer has come whole. True between exchanges."""
        self.reusable = True
        self.idle_since = 0.0

    def begin(self, request: bytes, alone: bool = False) -> None:
        """alone: no other request could leave with it in the next turn."""
        self.status, self.complete = 0, False
        self._parts, self._held = [], 0
        self._heard = self._loop.time()
        if alone:
            self._send(request)
        else:
            self._turn.call(partial(self._send, request))

    def _send(self, request: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(request)

    async def head(self) -> int:
        """The status. Raises EngineHttpError."""
        while not self.status:
            await self._more()
        return self.status

    async def read(self) -> bytes:
        """All of the body that has not been asked for. Raises EngineHttpError."""
        taken, size = list[bytes](), 0
        while True:
            taken += self._parts
            size += self._held
            if size > ANSWER_BYTES:
                self._fail(TooLong())
                raise TooLong
            self._parts, self._held = [], 0
            if self.complete:
                return taken[0] if len(taken) == 1 else b"".join(taken)
            self._read_on()
            await self._more()

    async def pour(self, sink: Sink, drained: Callable[[], Awaitable[None]]) -> None:
        """All of the body that has not been asked for, to `sink`, piece by piece in the moment in which it comes: no
        task is woken for it. A sink that is full gets the next one when it has `drained`. Raises EngineHttpError,
        and what the sink raises."""
        self._sink, self._full = sink, False
        try:
            while True:
                if not self._full:
                    self._empty(sink)
                if self._full:
                    self._hold()
                    await drained()
                    self._full = False
                elif self.complete:
                    return
                else:
                    self._read_on()
                    await self._more()
        finally:
            self._sink = None

    def _empty(self, sink: Sink) -> None:
        if self._parts:
            parts, self._parts, self._held = self._parts, [], 0
            self._full = not sink(parts[0] if len(parts) == 1 else b"".join(parts))

    def _flows(self, sink: Sink) -> bool:
        """Pass on what has come; whether there is nothing else to do about it."""
        try:
            self._empty(sink)
        except Exception as error:
            self._sink = None
            waiter, self._waiter = self._waiter, None
            if waiter is not None and not waiter.done():
                waiter.set_exception(error)
            return True
        return not (self._full or self.complete)

    def _hold(self) -> None:
        if not (self._paused or self.complete):
            self._paused = True
            self.transport.pause_reading()

    def _read_on(self) -> None:
        if self._paused:
            self._paused, self._heard = False, self._loop.time()
            if not self.transport.is_closing():
                self.transport.resume_reading()

    def _more(self) -> "asyncio.Future[None]":
        """Done when more has come. Raises what there can be no more for."""
        if self._error is not None:
            raise self._error
        self._waiter = self._loop.create_future()
        return self._waiter

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _end(self, error: EngineHttpError) -> None:
        """What has come can still be read."""
        self._error = self._error or error
        self.reusable = False
        self._ended(self)
        self._wake()

    def _fail(self, error: EngineHttpError) -> None:
        self._end(error)
        self.transport.abort()

    def _look(self) -> None:
        """One timer for a connection's whole life; it is late for nobody and costs an exchange nothing."""
        waits = self._waiter is not None and not self._waiter.done()
        silence = self._loop.time() - self._heard if waits else 0.0
        if silence >= self._timeout_s:
            self._fail(Silent())
        self._timer = self._loop.call_later(max(0.001, self._timeout_s - silence), self._look)

    # -- asyncio's

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._timer = self._loop.call_later(self._timeout_s, self._look)

    def data_received(self, data: bytes) -> None:
        if self.complete:  # nobody asked
            return self._fail(BrokenOff())
        self._heard = self._loop.time()
        self._held += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            return self._fail(BrokenOff())
        if self._sink is not None and not self._full and self._flows(self._sink):
            return
        if self._held > READ_AHEAD:
            self._hold()
        self._wake()

    def eof_received(self) -> None:
        self._end(BrokenOff())

    def connection_lost(self, error: Exception | None) -> None:
        self._timer.cancel()
        self._end(BrokenOff())

    # -- httptools'

    def on_message_begin(self) -> None:
        if self.complete:
            raise BrokenOff  # a second answer to one request

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        self.complete = True
        self.reusable = self.reusable and self._parser.should_keep_alive()
