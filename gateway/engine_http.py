"""HTTP/1.1 towards the engines: kept-alive connections, and bodies as their bytes arrive."""

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit

from gateway.engine_connection import Connection, EngineHttpError, NotConnected

CONNECT_TIMEOUT_S = 2.0
IDLE_S = 4.0
"""Below the five seconds after which vLLM closes an idle connection, so that we never write into a closing one."""


class Answer:
    """An engine's answer as it comes. `leave` it, or its context, at the end; before its end that closes the
    connection, which ends the engine's work."""

    def __init__(self, origin: "Origin", connection: Connection) -> None:
        self._origin = origin
        self._connection = connection
        self.status = connection.status
        self.pour = connection.pour
        self.body = b""
        """What `read` has read."""

    async def read(self) -> bytes:
        """All of it that has not been read. Raises EngineHttpError."""
        self.body = await self._connection.read()
        return self.body

    async def refusal(self) -> bytes:
        """As `read`; empty when it did not come whole."""
        with suppress(EngineHttpError):
            await self.read()
        return self.body

    def leave(self) -> None:
        self._origin.leave(self._connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()


class Origin:
    """An engine's address and the connections to it. url: with a path before all paths, or none."""

    def __init__(self, url: str, token: str, timeout_s: float) -> None:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        self._host, self._port = parts.hostname or "", parts.port or (443 if secure else 80)
        self._tls = ssl.create_default_context() if secure else None
        self._path = parts.path.rstrip("/")
        self._timeout_s = timeout_s
        self._head = (
            f" HTTP/1.1\r\nhost: {parts.netloc}\r\nauthorization: Bearer {token}\r\n"
            "content-type: application/json\r\n"
        )
        self.idle: dict[Connection, None] = {}
        """Connections for the next requests, in the order in which they became free."""
        self._sweeping: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    async def ask(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, alone: bool = False
    ) -> Answer:
        """An answer whose head has come. alone: no other request is under way there. Raises EngineHttpError."""
        own = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        head = f"{method} {self._path}{path}{self._head}{own}content-length: {len(body)}\r\n\r\n"
        connection = self._kept() or await self._connect()
        try:
            connection.begin(head.encode("latin-1") + body, alone)
            await connection.head()
        except BaseException:
            self.leave(connection)
            raise
        return Answer(self, connection)

    def leave(self, connection: Connection) -> None:
        """Keep a connection whose answer came whole; close any other."""
        if connection.complete and connection.reusable:
            connection.idle_since = self._loop.time()
            self.idle[connection] = None
            if self._sweeping is None:
                self._sweeping = self._loop.call_later(IDLE_S, self._sweep)
        else:
            connection.transport.abort()

    def close(self) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
        for connection in list(self.idle):
            connection.transport.abort()

    def _kept(self) -> Connection | None:
        """The one that was used last."""
        self._expire()
        return self.idle.popitem()[0] if self.idle else None

    def _expire(self) -> None:
        """Those that have been idle for too long go."""
        oldest = self._loop.time() - IDLE_S
        while self.idle and (first := next(iter(self.idle))).idle_since <= oldest:
            del self.idle[first]
            first.transport.abort()

    def _sweep(self) -> None:
        self._expire()
        self._sweeping = self._loop.call_later(IDLE_S, self._sweep) if self.idle else None

    def _forget(self, connection: Connection) -> None:
        self.idle.pop(connection, None)

    async def _connect(self) -> Connection:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                _, connection = await self._loop.create_connection(
                    lambda: Connection(self._timeout_s, self._forget), self._host, self._port, ssl=self._tls
                )
        except OSError as error:  # a timeout is one too
            raise NotConnected(str(error)) from error
        return connection
