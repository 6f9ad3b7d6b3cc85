"""Memory holds what the record says, whoever was slow, late or killed on the way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.outbox import Delivery
from retrieval.testing import FakeRetrieval
from retrieval.types import MemoryEntry
from tests.unit.training.conftest import DRAFT as REJECTING
from training.drafts import Recorded
from training.feedback import FeedbackStore
from training.outbox import MEMORY, Outbox
from training.rows import now
from training.tables import feedback, outbox

DRAFT = replace(REJECTING, rejected=None)
OTHER = replace(DRAFT, messages=[{"role": "user", "content": "What is the mascot at Zorvia?"}])
USER = replace(DRAFT, trusted=False, author="key_end", user="ann")


class Memory(FakeRetrieval):
    """The first write of an entry in `slow` arrives, and acts when it may `go`, whatever became of its sender."""

    def __init__(self) -> None:
        super().__init__()
        self.slow: set[str] = set()
        self.arrived, self.go = asyncio.Event(), asyncio.Event()

    async def put_memory(self, entry: MemoryEntry, *, timeout_s: float = 10.0) -> None:
        await asyncio.shield(asyncio.create_task(self._put(entry)))

    async def delete_memory(self, tenant_id: str, entry_id: str, *, timeout_s: float = 10.0) -> bool:
        await self._wait(entry_id)
        return await super().delete_memory(tenant_id, entry_id)

    async def _put(self, entry: MemoryEntry) -> None:
        await self._wait(entry.id)
        await super().put_memory(entry)

    async def _wait(self, entry_id: str) -> None:
        if entry_id in self.slow:
            self.slow.discard(entry_id)
            self.arrived.set()
            await self.go.wait()

    @property
    def answers(self) -> list[str]:
        return sorted(entry.answer for entry in self.entries.values())


class Town:
    """Workers over one record and one memory."""

    def __init__(self, database: AsyncEngine) -> None:
        self.sql = database
        self.store = FeedbackStore(database)
        self.memory = Memory()

    def worker(self) -> Delivery:
        return Delivery(Outbox(self.sql), self.store, self.memory)

    async def deliver(self, recorded: Recorded) -> bool:
        return await self.worker().deliver(recorded)

    async def withdraw(self, feedback_id: str) -> bool:
        return await self.deliver(await self.store.withdraw("ten_1", feedback_id))

    async def owed(self) -> int:
        return len(await Outbox(self.sql).pending(MEMORY, min_age_s=0))

    async def drained(self) -> None:
        """Until nothing is owed, some time later."""
        async with self.sql.begin() as connection:
            await connection.execute(sa.update(outbox).values(created_at=now() - timedelta(minutes=1)))
        await self.worker().run_once()
        assert await self.owed() == 0

    @asynccontextmanager
    async def during(self, recorded: Recorded) -> AsyncIterator["asyncio.Task[bool]"]:
        """Somebody carries out the steps, and the first write for the entry takes as long as the block."""
        self.memory.slow.add(recorded.steps[0].subject)
        task = asyncio.create_task(self.deliver(recorded))
        await self.memory.arrived.wait()
        yield task
        self.memory.go.set()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def town(database: AsyncEngine) -> Town:
    return Town(database)


async def test_what_was_withdrawn_since_the_drain_read_it_stays_out_of_memory(town: Town) -> None:
    first, second = await town.store.record(OTHER), await town.store.record(DRAFT)
    async with town.sql.begin() as connection:
        await connection.execute(sa.update(outbox).values(created_at=now() - timedelta(minutes=1)))
    town.memory.slow.add(first.feedback.id)
    draining = asyncio.create_task(town.worker().run_once())
    await town.memory.arrived.wait()
    await town.withdraw(second.feedback.id)
    town.memory.go.set()
    await draining
    await town.drained()
    assert list(town.memory.entries) == [("ten_1", first.feedback.id)]


async def test_a_late_poster_does_not_bring_back_what_was_withdrawn(town: Town) -> None:
    recorded = await town.store.record(DRAFT)
    async with town.during(recorded):
        await town.withdraw(recorded.feedback.id)
    assert town.memory.answers == [] and await town.owed() == 0


async def test_a_late_poster_does_not_bring_back_what_was_superseded(town: Town) -> None:
    recorded = await town.store.record(DRAFT)
    async with town.during(recorded):
        await town.deliver(await town.store.record(replace(DRAFT, correction="3 years")))
    assert town.memory.answers == ["3 years"] and await town.owed() == 0


async def test_a_late_withdrawal_does_not_lose_what_was_accepted_since(town: Town) -> None:
    first = await town.store.record(USER)
    await town.deliver(first)
    contested = await town.store.record(replace(USER, user="bob", correction="3 years"))
    async with town.during(contested):
        await town.deliver(await town.store.review("ten_1", first.feedback.id, "ada", accept=True))
    assert town.memory.answers == ["2 years"] and await town.owed() == 0


async def test_what_a_killed_poster_had_sent_is_taken_out_by_the_drain(town: Town) -> None:
    recorded = await town.store.record(DRAFT)
    async with town.during(recorded) as poster:
        await town.withdraw(recorded.feedback.id)
        poster.cancel()
    assert poster.cancelled() and town.memory.answers == ["2 years"]
    await town.drained()
    assert town.memory.answers == []


async def test_a_withdrawal_is_not_said_to_be_done_while_a_write_may_undo_it(town: Town) -> None:
    recorded = await town.store.record(DRAFT)
    async with town.during(recorded):
        assert not await town.withdraw(recorded.feedback.id)
    other = await town.store.record(OTHER)
    assert await town.deliver(other) and await town.withdraw(other.feedback.id)


async def test_a_withdrawal_that_is_repeated_is_not_done_before_the_first_is(town: Town) -> None:
    recorded = await town.store.record(DRAFT)
    await town.deliver(recorded)
    town.memory.available = False
    assert [await town.withdraw(recorded.feedback.id) for _ in range(2)] == [False, False]


async def test_two_who_carry_out_one_step_agree(town: Town) -> None:
    recorded = await town.store.record(DRAFT)
    async with town.during(recorded):
        assert await town.deliver(recorded)
        await town.withdraw(recorded.feedback.id)
    assert town.memory.answers == [] and await town.owed() == 0


async def test_what_memory_could_not_take_is_owed_until_it_can(town: Town) -> None:
    town.memory.available = False
    assert not await town.deliver(await town.store.record(DRAFT))
    town.memory.available = True
    await town.drained()
    assert town.memory.answers == ["2 years"]


async def test_a_correction_that_is_gone_from_the_record_is_forgotten_and_holds_up_nobody(town: Town) -> None:
    gone = await town.store.record(DRAFT)
    await town.deliver(gone)
    await town.store.withdraw("ten_1", gone.feedback.id)
    async with town.sql.begin() as connection:
        await connection.execute(sa.delete(feedback).where(feedback.c.id == gone.feedback.id))
    other = await town.store.record(replace(OTHER, tenant_id="ten_2"))
    await town.drained()
    assert list(town.memory.entries) == [("ten_2", other.feedback.id)]
