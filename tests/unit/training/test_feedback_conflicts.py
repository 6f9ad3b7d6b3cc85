"""Corrections that contradict each other, one after another and at once."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from adapters.database import connect, hold
from tests.unit.training.conftest import DRAFT
from training.drafts import FeedbackDraft
from training.feedback import FeedbackStore
from training.outbox import MEMORY_DELETE, MEMORY_PUT
from training.types import CorrectionStatus, Feedback

USER = replace(DRAFT, trusted=False, author="key_end", user="ann")


async def test_end_users_who_disagree_both_wait(database: AsyncEngine) -> None:
    store = FeedbackStore(database)
    first = (await store.record(USER)).feedback
    second = await store.record(replace(USER, user="bob", correction="3 years"))
    stored = [await store.get("ten_1", each) for each in (first.id, second.feedback.id)]
    assert [each.status for each in stored] == [CorrectionStatus.QUARANTINED] * 2
    assert [(step.kind, step.subject) for step in second.steps] == [(MEMORY_DELETE, first.id)]


async def test_an_end_user_does_not_dislodge_a_trusted_author(database: AsyncEngine) -> None:
    store = FeedbackStore(database)
    first = (await store.record(DRAFT)).feedback
    second = await store.record(replace(USER, correction="3 years"))
    assert (await store.get("ten_1", first.id)).status is CorrectionStatus.ACCEPTED
    assert second.feedback.status is CorrectionStatus.QUARANTINED


async def test_a_trusted_author_settles_a_conflict(database: AsyncEngine) -> None:
    store = FeedbackStore(database)
    first = (await store.record(USER)).feedback
    second = (await store.record(replace(USER, user="bob", correction="3 years"))).feedback
    await store.record(replace(DRAFT, correction="4 years"))
    stored = [await store.get("ten_1", each) for each in (first.id, second.id)]
    assert [each.status for each in stored] == [CorrectionStatus.SUPERSEDED] * 2


async def test_accepting_one_side_of_a_conflict_ends_the_other(database: AsyncEngine) -> None:
    store = FeedbackStore(database)
    first = (await store.record(USER)).feedback
    second = (await store.record(replace(USER, user="bob", correction="3 years"))).feedback
    accepted = await store.review("ten_1", second.id, "ada", accept=True)
    assert [(step.kind, step.subject) for step in accepted.steps] == [
        (MEMORY_DELETE, first.id),
        (MEMORY_PUT, second.id),
    ]
    assert await store.accepted("ten_1", "default") == [await store.get("ten_1", second.id)]


async def at_once(database: AsyncEngine, drafts: Sequence[FeedbackDraft]) -> list[Feedback]:
    """What becomes of corrections that two processes are posted at the same moment."""
    other = connect(str(database.url))
    stores = FeedbackStore(database), FeedbackStore(other)
    posted = await asyncio.gather(*(stores[n % 2].record(draft) for n, draft in enumerate(drafts)))
    await other.dispose()
    return [await stores[0].get("ten_1", recorded.feedback.id) for recorded in posted]


@pytest.mark.parametrize("attempt", range(5))
async def test_end_users_who_contradict_each_other_at_once_all_wait(
    database: AsyncEngine, attempt: int
) -> None:
    said = [f"{n} years" for n in range(2, 6)]
    drafts = [replace(DRAFT, trusted=False, user=f"user {text}", correction=text) for text in said]
    entries = await at_once(database, drafts)
    assert [(entry.status, entry.reasons) for entry in entries] == [
        (CorrectionStatus.QUARANTINED, ["contradiction"])
    ] * 4


@pytest.mark.parametrize("attempt", range(5))
async def test_of_trusted_authors_who_contradict_each_other_at_once_the_newest_counts(
    database: AsyncEngine, attempt: int
) -> None:
    entries = await at_once(database, [replace(DRAFT, correction=f"{n} years") for n in range(2, 6)])
    (accepted,) = await FeedbackStore(database).accepted("ten_1", "default")
    assert accepted == max(entries, key=lambda entry: entry.created_at)
    assert [entry.status for entry in entries].count(CorrectionStatus.SUPERSEDED) == 3


async def test_corrections_that_say_the_same_at_once_are_one(database: AsyncEngine) -> None:
    assert len({entry.id for entry in await at_once(database, [DRAFT] * 4)}) == 1


async def test_a_correction_that_is_withdrawn_while_it_is_accepted_is_not_in_use(
    database: AsyncEngine,
) -> None:
    store = FeedbackStore(database)
    for _ in range(10):
        waiting = (await store.record(replace(DRAFT, correction="password: hunter2hunter2"))).feedback.id
        accepted = store.review("ten_1", waiting, "ada", accept=True)
        await asyncio.gather(store.withdraw("ten_1", waiting), accepted, return_exceptions=True)
        assert (await store.get("ten_1", waiting)).status is CorrectionStatus.WITHDRAWN


async def test_one_tenants_posts_leave_connections_to_the_others(database: AsyncEngine) -> None:
    small = create_async_engine(database.url, pool_size=2, max_overflow=0)
    store = FeedbackStore(small)
    async with database.connect() as writer:
        if database.dialect.name == "sqlite":
            await writer.exec_driver_sql("BEGIN IMMEDIATE")
        await hold(writer, "feedback:ten_1")
        posts = [
            asyncio.create_task(store.record(replace(DRAFT, correction=f"{n} years"))) for n in range(20)
        ]
        assert not (await asyncio.wait(posts, timeout=0.3))[0]
        assert await asyncio.wait_for(store.list("ten_2"), 5) == []
        await writer.rollback()
    assert len({recorded.feedback.id for recorded in await asyncio.gather(*posts)}) == len(posts)
    await small.dispose()
