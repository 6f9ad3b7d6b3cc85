"""Webhooks: what control tells a tenant's own systems. Signed as standardwebhooks.com says, tried again for a day, and
sent only to addresses of the internet."""

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from adapters import audit
from adapters.audit import Act
from adapters.sources import resolve_host
from adapters.uris import public
from gateway.protocol import new_id
from gateway.tables import webhook_calls

log = logging.getLogger(__name__)

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

TIMEOUT_S = 10.0
"""Of a whole call, however slowly its answer comes."""
FIRST_WAIT_S = 5.0
LONGEST_WAIT_S = 4 * 3600.0
ATTEMPTS = 15
"""With waits that double, the last is made about a day after the first."""
BATCH = 20
SECRET_PREFIX = "whsec_"
_PURPOSE = b"graft webhook 1\n"


class Refused(Exception):
    """The URL leads where nothing is sent."""


async def enqueue(
    connection: AsyncConnection, tenant_id: str, url: str, kind: str, data: Mapping[str, Any]
) -> None:
    """Part of the caller's transaction: what happened is told, or did not happen."""
    now = datetime.now(UTC)
    body = {"type": kind, "timestamp": now.isoformat(), "data": dict(data)}
    row = {"id": new_id("msg_"), "tenant_id": tenant_id, "url": url, "body": body, "attempts": 0}
    await connection.execute(sa.insert(webhook_calls).values(**row, due_at=now, created_at=now))


def own_client(verify: ssl.SSLContext) -> httpx.AsyncClient:
    """A connection carries one call, and no cookies are kept: hosts that share an address are told apart by a
    connection's certificate only, and URLs name addresses here."""
    return httpx.AsyncClient(
        trust_env=False,
        verify=verify,
        limits=httpx.Limits(max_keepalive_connections=0),
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
    )


class Webhooks:
    """http: an `own_client`. token: what the tenants' secrets are derived from. private: whether plain HTTP and private
    addresses are allowed."""

    def __init__(
        self,
        engine: AsyncEngine,
        http: httpx.AsyncClient,
        token: str,
        *,
        private: bool = False,
        resolve: Resolve = resolve_host,
    ) -> None:
        self._engine = engine
        self._http = http
        self._token = token.encode()
        self._private = private
        self._resolve = resolve

    def secret(self, tenant_id: str) -> str:
        """What the tenant verifies signatures with."""
        return SECRET_PREFIX + base64.b64encode(self._key(tenant_id)).decode()

    async def run_once(self) -> int:
        """Make the calls that are due; returns how many were answered."""
        query = sa.select(webhook_calls).where(webhook_calls.c.due_at <= datetime.now(UTC))
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query.order_by(webhook_calls.c.due_at).limit(BATCH))).all()
        return sum(await asyncio.gather(*(self._deliver(row) for row in rows)))

    async def _deliver(self, row: sa.Row[Any]) -> bool:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                status = await self._send(row)
            failure = None if 200 <= status < 300 else f"HTTP {status}"
        except Refused as error:
            return await self._end(row, str(error))
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            failure = type(error).__name__
        if failure is None:
            return await self._end(row, None)
        if row.attempts + 1 >= ATTEMPTS:
            return await self._end(row, failure)
        wait = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**row.attempts)
        again = {"attempts": row.attempts + 1, "due_at": datetime.now(UTC) + timedelta(seconds=wait)}
        async with self._engine.begin() as connection:
            mine = webhook_calls.c.id == row.id
            await connection.execute(sa.update(webhook_calls).where(mine).values(again))
        log.info("webhook %s: %s, again in %.0f s", row.id, failure, wait)
        return False

    async def _send(self, row: sa.Row[Any]) -> int:
        parts = urlsplit(row.url)
        if parts.scheme != "https" and not (self._private and parts.scheme == "http"):
            raise Refused("webhooks go to https URLs")
        if not parts.hostname or parts.username or parts.password:
            raise Refused("the URL names no host, or holds credentials")
        address = await self._address(parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))
        body = orjson.dumps(row.body)
        headers = {**self._signed(row.tenant_id, row.id, body), "host": parts.netloc}
        async with self._http.stream(
            "POST",
            httpx.URL(row.url).copy_with(host=address),
            content=body,
            headers={**headers, "content-type": "application/json"},
            extensions={"sni_hostname": parts.hostname},
            follow_redirects=False,
            timeout=TIMEOUT_S,
        ) as response:
            return response.status_code

    async def _address(self, host: str, port: int) -> str:
        """Where to connect: the address that was looked at, so that a second look-up cannot lead elsewhere."""
        try:
            addresses: Sequence[str] = [str(ipaddress.ip_address(host))]
        except ValueError:
            addresses = await self._resolve(host, port)
        if not addresses or not (self._private or all(public(address) for address in addresses)):
            raise Refused("the host has no public address (GRAFT_WEBHOOK_PRIVATE_HOSTS allows others)")
        return addresses[0]

    def _signed(self, tenant_id: str, call_id: str, body: bytes) -> dict[str, str]:
        at = str(int(datetime.now(UTC).timestamp()))
        digest = hmac.digest(self._key(tenant_id), f"{call_id}.{at}.".encode() + body, hashlib.sha256)
        signature = f"v1,{base64.b64encode(digest).decode()}"
        return {"webhook-id": call_id, "webhook-timestamp": at, "webhook-signature": signature}

    def _key(self, tenant_id: str) -> bytes:
        return hmac.digest(self._token, _PURPOSE + tenant_id.encode(), hashlib.sha256)

    async def _end(self, row: sa.Row[Any], failure: str | None) -> bool:
        """Answered, or given up, which the audit log says. Its URL may hold a secret."""
        async with self._engine.begin() as connection:
            await connection.execute(sa.delete(webhook_calls).where(webhook_calls.c.id == row.id))
            if failure is not None:
                detail = {"type": row.body["type"], "reason": failure, "attempts": row.attempts + 1}
                act = Act("system:webhooks", "webhook.failed", row.id, row.tenant_id, detail)
                await audit.record(connection, act)
        return failure is None
