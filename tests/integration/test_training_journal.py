"""The journal over a real Redis and a real database."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import orjson
import pytest
import sqlalchemy as sa
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from training import journal, journal_drain
from training.errors import InteractionNotFound
from training.journal import Interactions, JournalWriter
from training.journal_drain import JournalDrain
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


async def stored(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return int(
            (await connection.execute(sa.select(sa.func.count()).select_from(interactions))).scalar_one()
        )


async def drain_all(drain: JournalDrain, wanted: int) -> None:
    moved = 0
    while moved < wanted:
        moved += await drain.drain(block_ms=50)


async def test_an_interaction_is_found_the_moment_it_is_written(redis: Redis, database: AsyncEngine) -> None:
    writer = JournalWriter(redis)
    writer.write(ANSWERED)
    assert await Interactions(redis, database, writer).find("ten_1", ANSWERED.id) == ANSWERED


async def test_another_worker_finds_it_in_redis(redis: Redis, database: AsyncEngine) -> None:
    async with JournalWriter(redis) as writer:
        writer.write(ANSWERED)
    assert await Interactions(redis, database).find("ten_1", ANSWERED.id) == ANSWERED


async def test_it_is_found_in_sql_when_redis_forgot(redis: Redis, database: AsyncEngine) -> None:
    async with JournalWriter(redis) as writer:
        writer.write(ANSWERED)
    await drain_all(JournalDrain(redis, database, "learner"), 1)
    await redis.flushall()
    assert await Interactions(redis, database).find("ten_1", ANSWERED.id) == ANSWERED


async def test_a_reader_waits_a_little_for_the_writer(redis: Redis, database: AsyncEngine) -> None:
    finding = asyncio.create_task(Interactions(redis, database).find("ten_1", ANSWERED.id, patience_s=10))
    async with JournalWriter(redis) as writer:
        writer.write(ANSWERED)
    assert await finding == ANSWERED


async def test_another_tenants_interaction_is_not_found(redis: Redis, database: AsyncEngine) -> None:
    writer = JournalWriter(redis)
    writer.write(ANSWERED)
    with pytest.raises(InteractionNotFound):
        await Interactions(redis, database, writer).find("ten_2", ANSWERED.id)


async def test_a_full_queue_drops_and_counts(redis: Redis) -> None:
    writer = JournalWriter(redis, capacity=1)
    writer.write(ANSWERED)
    writer.write(replace(ANSWERED, id="chatcmpl-2"))
    assert writer.dropped == 1


async def test_a_batch_of_a_dead_learner_is_stored_once(redis: Redis, database: AsyncEngine) -> None:
    async with JournalWriter(redis) as writer:
        for n in range(300):
            writer.write(replace(ANSWERED, id=f"chatcmpl-{n}"))
    drain = JournalDrain(redis, database, "learner", batch=128)
    await drain._make_group()
    assert len(await drain._read(">", 50)) == 16
    await drain_all(JournalDrain(redis, database, "learner", batch=128), 300)
    assert (await stored(database), await redis.xlen("graft:journal")) == (300, 0)


async def test_nothing_to_drain_is_no_error(redis: Redis, database: AsyncEngine) -> None:
    drain = JournalDrain(redis, database, "learner")
    assert [await drain.drain(block_ms=10) for _ in range(2)] == [0, 0]


async def test_what_a_learner_read_and_did_not_store_passes_to_the_next(
    redis: Redis, database: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_drain, "SILENT_SECONDS", 0)
    async with JournalWriter(redis) as writer:
        writer.write(ANSWERED)
    killed = JournalDrain(redis, database, "killed")
    await killed._make_group()
    assert len(await killed._read(">", 50)) == 1
    successor = JournalDrain(redis, database, "successor")
    await drain_all(successor, 1)
    await successor.drain(block_ms=10)
    names = [each["name"] for each in await redis.xinfo_consumers("graft:journal", "learner")]
    assert (await stored(database), await redis.xlen("graft:journal"), names) == (1, 0, [b"successor"])


async def responses(engine: AsyncEngine) -> dict[str, str]:
    async with engine.connect() as connection:
        rows = await connection.execute(sa.select(interactions.c.id, interactions.c.response))
    return {row.id: row.response for row in rows}


async def test_text_that_no_database_takes_is_stored_without_what_it_refuses(
    redis: Redis, database: AsyncEngine
) -> None:
    async with JournalWriter(redis) as writer:
        writer.write(replace(ANSWERED, response="a\0b", session_id="s\0", messages=[{"content": "c\0d"}]))
    await drain_all(JournalDrain(redis, database, "learner"), 1)
    async with database.connect() as connection:
        (row,) = (await connection.execute(sa.select(interactions))).all()
    assert (row.response, row.session_id, row.messages) == ("a\ufffdb", "s\ufffd", [{"content": "c\ufffdd"}])


async def test_what_cannot_be_written_is_counted_and_ends_nothing(
    redis: Redis, database: AsyncEngine
) -> None:
    async with JournalWriter(redis) as writer:
        writer.write(replace(ANSWERED, id="chatcmpl-half", response="\ud800"))
        writer.write(ANSWERED)
    assert writer.dropped == 1
    await drain_all(JournalDrain(redis, database, "learner"), 1)


async def test_what_the_record_refuses_is_lost_alone(redis: Redis, database: AsyncEngine) -> None:
    async with JournalWriter(redis) as writer:
        for n in range(5):
            writer.write(replace(ANSWERED, id=f"chatcmpl-{n}", status=2**63 if n == 3 else 200))
    await redis.xadd("graft:journal", {"data": b"nothing that was ever an interaction"})
    await JournalDrain(redis, database, "learner").drain(block_ms=50)
    await JournalDrain(redis, database, "learner").drain(block_ms=50)
    assert sorted(await responses(database)) == ["chatcmpl-0", "chatcmpl-1", "chatcmpl-2", "chatcmpl-4"]
    assert await redis.xlen("graft:journal") == 0


async def test_what_is_in_the_record_is_no_longer_in_redis(redis: Redis, database: AsyncEngine) -> None:
    async with JournalWriter(redis) as writer:
        for n in range(3):
            writer.write(replace(ANSWERED, id=f"chatcmpl-{n}"))
    assert len(await redis.keys("graft:interaction:*")) == 3
    await drain_all(JournalDrain(redis, database, "learner"), 3)
    assert await redis.keys("graft:interaction:*") == await redis.keys("graft:journal:bytes") == []
    assert await Interactions(redis, database).find("ten_1", "chatcmpl-1") == replace(
        ANSWERED, id="chatcmpl-1"
    )


async def test_redis_holds_so_many_bytes_at_most(redis: Redis, database: AsyncEngine) -> None:
    """Should nothing drain it, the oldest goes, and is counted."""
    long = replace(ANSWERED, response="x" * 1000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal, "SCRIPT", journal.SCRIPT.replace(str(journal.STREAM_BYTES), "5000"))
        async with JournalWriter(redis) as writer:
            for n in range(10):
                writer.write(replace(long, id=f"chatcmpl-{n}"))
    left = 10 - writer.dropped
    assert 1 < left < 5
    assert int(await redis.get("graft:journal:bytes")) <= 5000
    assert len(await redis.keys("graft:interaction:*")) == await redis.xlen("graft:journal") == left
    await drain_all(JournalDrain(redis, database, "learner"), left)
    assert sorted(await responses(database)) == [f"chatcmpl-{n}" for n in range(10 - left, 10)]


async def test_a_worker_holds_so_many_bytes_at_most(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "QUEUE_BYTES", 3 * len(journal.encode(ANSWERED)))
    writer = JournalWriter(redis)
    for n in range(5):
        writer.write(replace(ANSWERED, id=f"chatcmpl{n}"))
    assert writer.dropped == 2
    async with writer:
        pass
    writer.write(ANSWERED)
    assert writer.dropped == 2


async def test_of_a_very_long_conversation_the_answer_is_kept(redis: Redis, database: AsyncEngine) -> None:
    long = [{"role": "user", "content": "Hello?", "unread": "x" * journal.LARGEST}]
    async with JournalWriter(redis) as writer:
        writer.write(replace(ANSWERED, messages=long, detail={"tools": long, "base": "base"}))
    await drain_all(JournalDrain(redis, database, "learner"), 1)
    found = await Interactions(redis, database).find("ten_1", ANSWERED.id)
    assert found == replace(ANSWERED, messages=[], detail={"base": "base"})


async def write(redis: Redis, name: str, count: int, response: str = "") -> None:
    async with JournalWriter(redis) as writer:
        for n in range(count):
            writer.write(replace(ANSWERED, id=f"{name}-{n}", response=response))


async def test_of_long_entries_few_are_read_at_once(redis: Redis, database: AsyncEngine) -> None:
    drain = JournalDrain(redis, database, "learner", batch=100)
    await drain.drain(block_ms=10)
    await write(redis, "short", 116)
    assert [await drain.drain() for _ in range(2)] == [112, 4]
    await write(redis, "long", 36, "x" * 900_000)
    assert [await drain.drain() for _ in range(3)] == [16, 16, 4]


async def test_what_is_sent_again_because_the_answer_came_late_is_there_once(redis: Redis) -> None:
    writer = JournalWriter(redis)
    for _ in range(2):
        await writer._send({"chatcmpl-1": b"{}"})
    assert await redis.xlen("graft:journal") == 1
    assert await redis.get("graft:journal:bytes") == b"2"


async def test_a_stream_that_is_gone_holds_no_bytes(redis: Redis) -> None:
    await redis.set("graft:journal:bytes", journal.STREAM_BYTES)
    await write(redis, "chatcmpl", 3)
    assert await redis.xlen("graft:journal") == 3


async def test_entries_that_were_never_counted_take_nothing_off_the_count(
    redis: Redis, database: AsyncEngine
) -> None:
    drain = JournalDrain(redis, database, "learner", batch=1)
    await drain.drain(block_ms=10)
    await write(redis, "chatcmpl", 20)
    await redis.set("graft:journal:bytes", 1)
    assert (await drain.drain(), await redis.get("graft:journal:bytes")) == (16, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tenant_id", None),
        ("adapter", 7),
        ("response", ["a"]),
        ("session_id", {}),
        ("status", "200"),
        ("latency_ms", None),
        ("draw", "0.5"),
        ("messages", None),
        ("at", "0001-01-01T00:00:00+14:00"),
    ],
)
async def test_what_no_row_can_hold_is_lost_alone(
    redis: Redis, database: AsyncEngine, name: str, value: object
) -> None:
    document = orjson.loads(journal.encode(replace(ANSWERED, id="chatcmpl-bad"))) | {name: value}
    await redis.xadd("graft:journal", {"data": orjson.dumps(document)})
    await write(redis, "chatcmpl", 2)
    drain = JournalDrain(redis, database, "learner")
    for _ in range(2):
        await drain.drain(block_ms=10)
    assert sorted(await responses(database)) == ["chatcmpl-0", "chatcmpl-1"]
    assert await redis.xlen("graft:journal") == 0
