"""Comments in an event stream while the engine is silent, so that no one between takes the connection for dead."""

import asyncio
from types import TracebackType
from typing import Self

from gateway.asgi import Send

COMMENT = b": keep-alive\n\n"


class KeepAlive:
    """Sends a comment after each `seconds` without an event. One timer per stream; an event costs it one clock
    reading. Comments go only between whole events."""

    def __init__(self, send: Send, seconds: float) -> None:
        self._send = send
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None
        self._last = 0.0

    def sent(self) -> None:
        """Something went out just now."""
        self._last = self._loop.time()

    def __enter__(self) -> Self:
        self.sent()
        self._timer = self._loop.call_later(self._seconds, self._tick)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is sent afterwards: a cancelled task never gets to its next step."""
        if self._timer is not None:
            self._timer.cancel()
        if self._sending is not None:
            self._sending.cancel()

    def _tick(self) -> None:
        now = self._loop.time()
        free = self._sending is None or self._sending.done()
        if now - self._last >= self._seconds:
            self._last = now
            if free:  # else the client does not even take the last comment
                self._sending = self._loop.create_task(self._comment())
        self._timer = self._loop.call_at(self._last + self._seconds, self._tick)

    async def _comment(self) -> None:
        await self._send({"type": "http.response.body", "body": COMMENT, "more_body": True})
