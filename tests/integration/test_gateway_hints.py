"""A move that control announces, over a real Redis and a real database."""

import pytest
import sqlalchemy as sa
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.errors import WorkersBehind
from adapters.registry import Registry
from adapters.types import Alias, Lineage, VersionStatus
from gateway.hints import Hint, hint_in
from gateway.snapshot import CurrentSnapshot
from gateway.tenants import TenantStore
from gateway.workers import CHANGES_CHANNEL, RedisWorkers
from tests.waiting import until


async def renamed(database: AsyncEngine, table: str, name: str) -> None:
    async with database.begin() as connection:
        await connection.execute(sa.text(f"ALTER TABLE {table} RENAME TO {name}"))


async def test_a_worker_serves_an_announced_move_and_says_so_once_it_has_read_it(
    worker: CurrentSnapshot, database: AsyncEngine, redis: Redis
) -> None:
    registry, workers = Registry(database), RedisWorkers(redis)
    tenant, _, _ = await TenantStore(database).upsert("acme", "Acme", "test")
    await registry.ensure_adapter(tenant.id, "default", "sha256:base")
    version = await registry.register(tenant.id, "default", "sha256:a", Lineage("sha256:base"), {})
    await registry.set_status(version.id, VersionStatus.APPROVED)
    before = await registry.position()
    await workers.announce(before)
    await workers.wait_for(before, 5.0)

    async def served() -> bool:
        return worker.value.tenants[tenant.id].adapters["default"].aliases.get(Alias.STABLE) == version.id

    await renamed(database, "keys", "away")
    move = await registry.move_alias(tenant.id, "default", Alias.STABLE, version.id, "test")
    async with redis.pubsub() as channel:
        await channel.subscribe(CHANGES_CHANNEL)
        await channel.get_message(timeout=2.0)
        await workers.announce(move.change, move)
        event = await channel.get_message(ignore_subscribe_messages=True, timeout=2.0)
    assert event is not None and hint_in(event["data"]) == Hint.of(move)
    await until(served)
    assert worker.value.position == before
    with pytest.raises(WorkersBehind):
        await workers.wait_for(move.change, 0.0)
    await renamed(database, "away", "keys")
    assert await workers.wait_for(move.change, 5.0) == 1
    assert await served() and worker.value.position == move.change
