"""A Redis that takes connections and says nothing holds up neither a worker nor control."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from adapters.errors import WorkersUnseen
from gateway import redis_client
from gateway.leader import Leadership
from gateway.leases import Heartbeat, Leases
from gateway.redis_client import connected
from gateway.workers import RedisWorkers

WITHIN_S = 1.0
"""Twice the limit, and room."""


@pytest.fixture
async def silent(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Redis]:
    monkeypatch.setattr(redis_client, "REDIS_S", 0.1)
    async with saying_nothing() as redis:
        yield redis


@asynccontextmanager
async def saying_nothing() -> AsyncIterator[Redis]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, connected(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}") as redis:
        yield redis


async def test_a_swap_goes_on_without_an_answer(silent: Redis) -> None:
    workers, began = RedisWorkers(silent), time.monotonic()
    async with asyncio.timeout(60):
        await workers.announce(1)
        with pytest.raises(WorkersUnseen):
            await workers.wait_for(1, 0.0)
    assert time.monotonic() - began < 2 * WITHIN_S


async def test_nobody_leads_by_a_lease_that_cannot_be_renewed(silent: Redis, redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        leadership = Leadership(redis)
        assert await leadership.hold()
        leadership._redis, began = silent, time.monotonic()
        async with asyncio.timeout(60):
            assert not await leadership.hold()
    assert not leadership.leading and time.monotonic() - began < WITHIN_S


async def test_a_worker_starts_without_an_answer() -> None:
    async with saying_nothing() as redis:
        heartbeat, began = Heartbeat(redis, "w_1", Leases(), 2), time.monotonic()
        await heartbeat.start()
        took = time.monotonic() - began
        await heartbeat.close()
    assert took < WITHIN_S and heartbeat.share.live == 2
