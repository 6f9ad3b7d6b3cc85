"""Webhooks against a receiver that is a function: signed, tried again, and never sent inside."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters import audit
from gateway import webhooks as module
from gateway.tables import webhook_calls
from gateway.webhooks import ATTEMPTS, Webhooks, enqueue, own_client

URL = "https://hooks.example.com/graft?token=secret"
CONTEXT = ssl.create_default_context()


@dataclass
class Receiver:
    sql: AsyncEngine
    addresses: dict[str, str] = field(default_factory=lambda: {"hooks.example.com": "93.184.216.34"})
    status: int = 204
    got: list[httpx.Request] = field(default_factory=list)

    def webhooks(self, *, private: bool = False) -> Webhooks:
        http = httpx.AsyncClient(transport=httpx.MockTransport(self._answer))
        return Webhooks(self.sql, http, "token", private=private, resolve=self._resolve)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.got.append(request)
        return httpx.Response(self.status, headers={"location": "https://10.0.0.1/"})

    async def _resolve(self, host: str, port: int) -> list[str]:
        return [self.addresses[host]]

    async def owe(self, url: str = URL) -> None:
        async with self.sql.begin() as connection:
            await enqueue(connection, "ten_a", url, "rollout.promoted", {"version": "default@v2"})

    async def owed(self) -> list[sa.Row]:
        async with self.sql.connect() as connection:
            return list((await connection.execute(sa.select(webhook_calls))).all())

    async def hurry(self) -> None:
        async with self.sql.begin() as connection:
            past = datetime.now(UTC) - timedelta(seconds=1)
            await connection.execute(sa.update(webhook_calls).values(due_at=past))


@pytest.fixture
def receiver(database: AsyncEngine) -> Receiver:
    return Receiver(database)


async def test_a_call_is_signed_with_the_tenants_secret(receiver: Receiver) -> None:
    webhooks = receiver.webhooks()
    await receiver.owe()
    assert await webhooks.run_once() == 1
    (request,) = receiver.got
    key = base64.b64decode(webhooks.secret("ten_a").removeprefix("whsec_"))
    signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode()
    digest = hmac.digest(key, signed + request.content, hashlib.sha256)
    assert request.headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
    assert webhooks.secret("ten_a") != webhooks.secret("ten_b")
    assert await receiver.owed() == []


async def test_it_goes_to_the_address_that_was_looked_at_under_the_hosts_name(receiver: Receiver) -> None:
    await receiver.owe()
    await receiver.webhooks().run_once()
    assert receiver.got[0].url.host == "93.184.216.34"
    assert receiver.got[0].headers["host"] == "hooks.example.com"


async def test_a_call_that_failed_is_made_again_later_and_given_up_in_the_end(receiver: Receiver) -> None:
    receiver.status = 500
    webhooks = receiver.webhooks()
    await receiver.owe()
    await webhooks.run_once()
    assert await webhooks.run_once() == 0
    assert len(receiver.got) == 1, "it is not due yet"
    for _ in range(ATTEMPTS - 1):
        await receiver.hurry()
        await webhooks.run_once()
    assert (len(receiver.got), await receiver.owed()) == (ATTEMPTS, [])
    assert len({request.headers["webhook-id"] for request in receiver.got}) == 1, "a receiver can tell"
    (entry,) = await audit.entries(receiver.sql)
    assert (entry.act.action, entry.act.detail["reason"]) == ("webhook.failed", "HTTP 500")
    assert "secret" not in str(entry.act.detail)


async def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    receiver.status = 302
    await receiver.owe()
    await receiver.webhooks().run_once()
    assert (len(receiver.got), len(await receiver.owed())) == (1, 1)


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/x",
        "https://[::1]/x",
        "https://169.254.169.254/latest/meta-data",
        "https://inside.example.com/x",
        "http://hooks.example.com/x",
        "https://user:word@hooks.example.com/x",
        "https:///x",
    ],
)
async def test_nothing_is_sent_inside_or_in_the_clear(receiver: Receiver, url: str) -> None:
    receiver.addresses["inside.example.com"] = "10.0.0.7"
    await receiver.owe(url)
    await receiver.webhooks().run_once()
    assert (receiver.got, await receiver.owed()) == ([], [])


async def test_private_receivers_can_be_allowed(receiver: Receiver) -> None:
    await receiver.owe("http://127.0.0.1:9000/x")
    await receiver.webhooks(private=True).run_once()
    assert len(receiver.got) == 1


@asynccontextmanager
async def listening(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """A receiver's URL; its connections have ended when the block has."""
    connections: list[asyncio.Task[None] | None] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await answer(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    await asyncio.gather(*filter(None, connections))


async def test_a_receiver_that_never_ends_its_answer_holds_up_nobody(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 0.3)

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(250):
            writer.write(b"x-more-%d: 1\r\n" % number)
            await writer.drain()
            await asyncio.sleep(0.02)

    async with listening(drip) as url, own_client(CONTEXT) as http:
        await receiver.owe(url)
        async with asyncio.timeout(3):
            assert await Webhooks(receiver.sql, http, "token", private=True).run_once() == 0
    (owed,) = await receiver.owed()
    assert owed.attempts == 1


async def test_two_calls_to_one_address_share_no_connection_and_no_cookie(receiver: Receiver) -> None:
    """Its certificate was for one of the hosts."""
    connections: list[list[bytes]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append([])
        while head := (await reader.readuntil(b"\r\n\r\n")).lower():
            connections[-1].append(head)
            (length,) = [line for line in head.split(b"\r\n") if line.startswith(b"content-length")]
            await reader.readexactly(int(length.split(b":")[1]))
            writer.write(b"HTTP/1.1 204 No Content\r\nset-cookie: mine=1\r\n\r\n")

    async with listening(answer) as url, own_client(CONTEXT) as http:
        webhooks = Webhooks(receiver.sql, http, "token", private=True)
        for _ in range(2):
            await receiver.owe(url)
            assert await webhooks.run_once() == 1
    assert [len(heads) for heads in connections] == [1, 1]
    assert b"\r\ncookie" not in b"".join(map(b"".join, connections))
