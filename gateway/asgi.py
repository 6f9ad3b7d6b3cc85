"""The little of HTTP that the hot path needs, on bare ASGI."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from contextlib import suppress
from itertools import chain
from types import TracebackType
from typing import Any, Protocol, Self

import orjson

from gateway.errors import GatewayError, HeadersTooLarge, InvalidRequest, TooLarge

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

CLIENT = "graft.client"
REQUEST_ID = "graft.request_id"
JSON: tuple[bytes, bytes] = (b"content-type", b"application/json")
EVENTS: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
"""A stream's, for proxies before us too: nginx would hold it back."""


MAX_HEADERS = 100
MAX_HEADER_BYTES = 32 * 1024
"""Names and values of all headers together."""

HOST = re.compile(rb"[0-9A-Za-z._~-]*(:\d{0,5})?|\[[0-9A-Fa-f:.]+\](:\d{0,5})?")
"""A name or an address, with or without a port. Anything else could make part of a path of itself where a URL is put
together from this header, as Starlette does."""


ONCE = frozenset({b"authorization", b"host", b"x-adapter", b"x-tenant-id"})
"""Headers that say who asks for what. Of two, someone before us may have looked at the other one."""


class ClientLeft(Exception):
    """The client closed the connection: there is nobody to answer."""


class RequestHeaders:
    """A request's headers, the last of a repeated one."""

    def __init__(self, scope: Scope) -> None:
        self._values: dict[bytes, bytes] = dict(scope["headers"])

    def get(self, name: bytes) -> str | None:
        """name: in lower case."""
        value = self._values.get(name)
        return None if value is None else value.decode("latin-1")


def check_headers(headers: Headers) -> None:
    """Raises HeadersTooLarge, and InvalidRequest for a Host that is none or a header that is there twice."""
    if len(headers) > MAX_HEADERS or sum(map(len, chain.from_iterable(headers))) > MAX_HEADER_BYTES:
        raise HeadersTooLarge(f"At most {MAX_HEADERS} headers of {MAX_HEADER_BYTES} bytes in all are read.")
    values = dict(headers)
    if len(values) < len(headers):
        _check_repeated([name for name, _ in headers])
    if HOST.fullmatch(values.get(b"host", b"")) is None:
        raise InvalidRequest("The header `Host` is not valid.", param="Host")


def _check_repeated(names: Sequence[bytes]) -> None:
    for name in names:
        if name in ONCE and names.count(name) > 1:
            shown = name.decode("latin-1")
            raise InvalidRequest(f"The header `{shown}` is there more than once.", param=shown)


async def read_body(receive: Receive, headers: RequestHeaders, limit: int) -> bytes:
    """Raises TooLarge, before reading when the client says so itself, and ClientLeft."""
    declared = headers.get(b"content-length")
    if declared and declared.isascii() and declared.isdigit() and int(declared) > limit:
        raise TooLarge(f"The body may have {limit} bytes at most.")
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise TooLarge(f"The body may have {limit} bytes at most.")
        if not message.get("more_body", False):
            return b"".join(parts)


async def start(send: Send, status: int, headers: Headers) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def respond(send: Send, status: int, headers: Headers, body: bytes) -> None:
    """A whole JSON response."""
    await start(send, status, [JSON, (b"content-length", str(len(body)).encode()), *headers])
    await send({"type": "http.response.body", "body": body})


async def respond_error(send: Send, error: GatewayError, headers: Headers) -> None:
    own = encoded(error.headers().items())
    await respond(send, error.status, [*own, *headers], orjson.dumps(error.body()))


def encoded(pairs: Iterable[tuple[str, str]]) -> Headers:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs]


class Identified:
    """An application all of whose answers have an `x-request-id`, which is in its scope under `REQUEST_ID`."""

    def __init__(
        self, app: Callable[[Scope, Receive, Send], Awaitable[None]], new_id: Callable[[], str]
    ) -> None:
        self._app = app
        self._new_id = new_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[REQUEST_ID] = request_id = self._new_id()

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                header = (b"x-request-id", request_id.encode())
                message = {**message, "headers": [*message.get("headers", ()), header]}
            await send(message)

        await self._app(scope, receive, named)


class Client(Protocol):
    """Who asked, in the scope under `CLIENT`: `gateway.connection` puts it there. on_leave: called when it goes."""

    gone: bool
    on_leave: Callable[[], None] | None

    def answer(self, scope: Scope, status: int, headers: Headers, body: bytes) -> bool: ...

    def write_chunk(self, data: bytes) -> bool: ...

    async def drained(self) -> None: ...


class DisconnectWatch:
    """Cancels the task inside its context when the client leaves, so that the engine stops working for
    nobody.

    The context turns that cancellation, and no other, into ClientLeft. ASGI's `receive` would say the same, to a task
    for each request that waits for it.
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self.client: Client = scope[CLIENT]
        self._task: asyncio.Task[Any] | None = None
        self.left = False
        self.finished = False
        """Set it before the last byte goes out: what follows is not the client leaving early."""

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        self.client.on_leave = self._leave
        if self.client.gone:
            self._leave()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.on_leave = None
        if self.left and kind is asyncio.CancelledError and self._task is not None:
            self._task.uncancel()
            raise ClientLeft from error

    async def respond(self, send: Send, headers: Headers, body: bytes) -> None:
        """The whole JSON response to the request that is watched. Returns when it has left: nothing that is done about
        it afterwards keeps the client waiting."""
        self.finished = True
        if not self.client.answer(self._scope, 200, [JSON, *headers], body):
            await respond(send, 200, headers, body)
        with suppress(asyncio.CancelledError):  # it is too late for that, and what is left to do is short
            await asyncio.sleep(0)

    def _leave(self) -> None:
        if self._task is not None and not self.finished:
            self.left = True
            self._task.cancel()
