"""The journal over a real Redis and a real database."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.database import connect
from training import journal
from training.errors import InteractionNotFound
from training.journal import Interactions, JournalDrain, JournalWriter
from training.tables import interactions
from training.types import Interaction

ANSWERED = Interaction(
    id="chatcmpl-1",
    tenant_id="ten_1",
    adapter="default",
    version_id=None,
    arm="stable",
    messages=[{"role": "user", "content": "What is the warranty at Zorvia?"}],
    response="I do not know.",
    memory_ids=[],
    passage_ids=["psg_1"],
    session_id="session",
    usage={"prompt_tokens": 9, "completion_tokens": 5},
    latency_ms=12.5,
    status=200,
    at=datetime.now(UTC),
)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
async def sql(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = connect(database_url)
    yield engine
    await engine.dispose()


async def stored(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return int(
            (await connection.execute(sa.select(sa.func.count()).select_from(interactions))).scalar_one()
        )


async def drain_all(drain: JournalDrain, wanted: int) -> None:
    moved = 0
    while moved < wanted:
        moved += await drain.drain(block_ms=50)


async def test_an_interaction_is_found_the_moment_it_is_written(redis: Redis, sql: AsyncEngine) -> None:
    writer = JournalWriter(redis)
    writer.write(ANSWERED)
    assert await Interactions(redis, sql, writer).find("ten_1", ANSWERED.id) == ANSWERED


async def test_another_worker_finds_it_in_redis(redis: Redis, sql: AsyncEngine) -> None:
    async with JournalWriter(redis) as writer:
        writer.write(ANSWERED)
    assert await Interactions(redis, sql).find("ten_1", ANSWERED.id) == ANSWERED


async def test_it_is_found_in_sql_when_redis_forgot(redis: Redis, sql: AsyncEngine) -> None:
    async with JournalWriter(redis) as writer:
        writer.write(ANSWERED)
    await drain_all(JournalDrain(redis, sql, "learner"), 1)
    await redis.flushall()
    assert await Interactions(redis, sql).find("ten_1", ANSWERED.id) == ANSWERED


async def test_a_reader_waits_a_little_for_the_writer(redis: Redis, sql: AsyncEngine) -> None:
    finding = asyncio.create_task(Interactions(redis, sql).find("ten_1", ANSWERED.id, patience_s=10))
    async with JournalWriter(redis) as writer:
        writer.write(ANSWERED)
    assert await finding == ANSWERED


async def test_another_tenants_interaction_is_not_found(redis: Redis, sql: AsyncEngine) -> None:
    writer = JournalWriter(redis)
    writer.write(ANSWERED)
    with pytest.raises(InteractionNotFound):
        await Interactions(redis, sql, writer).find("ten_2", ANSWERED.id)


async def test_a_full_queue_drops_and_counts(redis: Redis) -> None:
    writer = JournalWriter(redis, capacity=1)
    writer.write(ANSWERED)
    writer.write(replace(ANSWERED, id="chatcmpl-2"))
    assert writer.dropped == 1


async def test_a_batch_of_a_dead_learner_is_stored_once(redis: Redis, sql: AsyncEngine) -> None:
    async with JournalWriter(redis) as writer:
        for n in range(300):
            writer.write(replace(ANSWERED, id=f"chatcmpl-{n}"))
    drain = JournalDrain(redis, sql, "learner", batch=128)
    await drain._make_group()
    assert len(await drain._read(">", 50)) == 128
    await drain_all(JournalDrain(redis, sql, "learner", batch=128), 300)
    assert (await stored(sql), await redis.xlen("graft:journal")) == (300, 0)


async def test_nothing_to_drain_is_no_error(redis: Redis, sql: AsyncEngine) -> None:
    drain = JournalDrain(redis, sql, "learner")
    assert [await drain.drain(block_ms=10) for _ in range(2)] == [0, 0]


async def test_what_a_learner_read_and_did_not_store_passes_to_the_next(
    redis: Redis, sql: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "SILENT_SECONDS", 0)
    async with JournalWriter(redis) as writer:
        writer.write(ANSWERED)
    killed = JournalDrain(redis, sql, "killed")
    await killed._make_group()
    assert len(await killed._read(">", 50)) == 1
    successor = JournalDrain(redis, sql, "successor")
    await drain_all(successor, 1)
    await successor.drain(block_ms=10)
    names = [each["name"] for each in await redis.xinfo_consumers("graft:journal", "learner")]
    assert (await stored(sql), await redis.xlen("graft:journal"), names) == (1, 0, [b"successor"])


async def test_text_with_a_character_that_not_every_database_has_holds_up_nothing(
    redis: Redis, sql: AsyncEngine
) -> None:
    said = [{"role": "user", "content": "What is \0?"}]
    async with JournalWriter(redis) as writer:
        writer.write(replace(ANSWERED, id="chatcmpl-0", messages=said, response="A \0."))
        writer.write(ANSWERED)
    await drain_all(JournalDrain(redis, sql, "learner"), 2)
    await redis.flushall()
    found = await Interactions(redis, sql).find("ten_1", "chatcmpl-0")
    assert (found.messages, found.response) in [(said, "A \0."), (said, "A \ufffd.")]
    assert await Interactions(redis, sql).find("ten_1", ANSWERED.id) == ANSWERED
