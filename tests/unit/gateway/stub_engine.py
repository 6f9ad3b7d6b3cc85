"""An upstream that answers as vLLM does, for tests of the path between client and engine."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from gateway.connection import connections
from tests.unit.gateway.stub_shapes import SHAPES, Chat, Response
from tests.waiting import until

Send = Callable[[dict[str, Any]], Any]


@dataclass
class StubEngine:
    """What it was asked, and how it shall behave. `resident` None: every model is."""

    resident: set[str] | None = None
    words: tuple[str, ...] = ("Hello", " there")
    break_after: int | None = None
    """Events after which a stream breaks off."""
    hold: asyncio.Event | None = None
    """Answers wait for it."""
    linger: asyncio.Event | None = None
    """A stream that has said everything ends with it."""
    status: int = 200
    error: str = "refused"
    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    waiting: int = 0
    aborted: list[str] = field(default_factory=list)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    left: int = 0
    """Streams whose reader went away."""

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Send) -> None:
        if scope["path"] == "/health":
            await self._whole(send, 200, {})
            return
        if scope["path"] == "/inference/v1/abort_requests":
            self.aborted += json.loads(await self._body(receive))["request_ids"]
            self.stopped.set()
            await self._whole(send, 200, {})
            return
        self.headers.append({name.decode(): value.decode() for name, value in scope["headers"]})
        payload = json.loads(await self._body(receive))
        shape = SHAPES[scope["path"]]
        self.asked.append(payload)
        if self.hold is not None and not payload.get("stream"):
            await self._held()
        if self.status != 200:
            await self._error(send, self.status, self.error)
        elif self.resident is not None and payload["model"] not in self.resident:
            await self._error(send, 404, f"The model `{payload['model']}` does not exist.")
        elif payload.get("stream"):
            await self._events(receive, send, shape, payload)
        else:
            await self._whole(send, 200, shape.answer(payload, self.words))

    async def _held(self) -> None:
        """Wait for the hold's end, or to be told to stop."""
        self.waiting += 1
        ends = [asyncio.ensure_future(event.wait()) for event in (self.hold, self.stopped)]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()
        self.waiting -= 1

    async def _held_stream(self, receive: Any) -> None:
        """Wait in the middle of a stream for the hold's end, or for the reader to leave."""
        self.waiting += 1
        ends = [asyncio.ensure_future(self.hold.wait()), asyncio.ensure_future(receive())]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        self.left += not ends[0].done()
        for end in ends:
            end.cancel()
        self.waiting -= 1

    async def _body(self, receive: Any) -> bytes:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                return body

    async def _events(
        self, receive: Any, send: Send, shape: Chat | Response, payload: dict[str, Any]
    ) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for number, event in enumerate(shape.events(payload, self.words)):
            if number == 1 and self.hold is not None:
                await self._held_stream(receive)
            if number == self.break_after:
                raise ConnectionAbortedError("the stub breaks off")
            await send({"type": "http.response.body", "body": event.encode(), "more_body": True})
        if self.linger is not None:
            await self.linger.wait()
        await send({"type": "http.response.body", "body": b""})

    async def _error(self, send: Send, status: int, message: str) -> None:
        error = {"message": message, "type": "Error", "param": None, "code": status}
        await self._whole(send, status, {"error": error})

    async def _whole(self, send: Send, status: int, content: dict[str, Any]) -> None:
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(content).encode()})


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[str]:
    """Any ASGI application on a free port; yields its URL."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, http=connections(30.0), log_level="critical", lifespan="off", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    await until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


def unused_url() -> str:
    """Where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"
