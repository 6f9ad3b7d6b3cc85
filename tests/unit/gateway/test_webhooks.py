"""Webhooks against a receiver that is a function: signed, tried again, and never sent inside."""

import base64
import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters import audit
from gateway.tables import webhook_calls
from gateway.webhooks import ATTEMPTS, Webhooks, enqueue

URL = "https://hooks.example.com/graft?token=secret"


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
