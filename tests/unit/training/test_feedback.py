import asyncio
from dataclasses import replace

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from training.errors import FeedbackNotFound, InvalidFeedback
from training.feedback import MEMORY_DELETE, MEMORY_PUT, FeedbackDraft, FeedbackStore
from training.types import CorrectionStatus

DRAFT = FeedbackDraft(
    tenant_id="ten_1",
    adapter="default",
    messages=[{"role": "user", "content": "What is the warranty at Zorvia?"}],
    author="key_1",
    trusted=True,
    rejected="I do not know.",
    correction="2 years",
)


async def test_a_correction_is_stored_with_the_step_that_puts_it_into_memory(database: AsyncEngine) -> None:
    store = FeedbackStore(database)
    recorded = await store.record(DRAFT)
    (step,) = recorded.steps
    assert (step.kind, step.payload["answer"]) == (MEMORY_PUT, "2 years")
    assert await store.get("ten_1", recorded.feedback.id) == recorded.feedback


async def test_a_step_is_owed_until_it_is_done(database: AsyncEngine) -> None:
    store = FeedbackStore(database)
    (step,) = (await store.record(DRAFT)).steps
    await store.failed(step.id)
    (owed,) = await store.pending(min_age_s=0)
    assert owed.attempts == 1
    await store.done(step.id)
    assert await store.pending(min_age_s=0) == []


async def test_a_young_step_is_left_to_its_poster(database: AsyncEngine) -> None:
    store = FeedbackStore(database)
    await store.record(DRAFT)
    assert await store.pending(min_age_s=60) == []


async def test_an_idempotency_key_stores_once_even_at_once(database: AsyncEngine) -> None:
    store = FeedbackStore(database)
    draft = replace(DRAFT, correction=None, rating=-1, idempotency_key="again")
    results = await asyncio.gather(*(store.record(draft) for _ in range(4)))
    assert len({result.feedback.id for result in results}) == 1
    assert sum(result.created for result in results) == 1


async def test_a_repeated_correction_returns_the_first(database: AsyncEngine) -> None:
    store = FeedbackStore(database)
    first = await store.record(DRAFT)
    again = await store.record(DRAFT)
    assert (again.feedback, again.created, list(again.steps)) == (first.feedback, False, [])


async def test_a_newer_answer_supersedes_in_memory_too(database: AsyncEngine) -> None:
    store = FeedbackStore(database)
    old = (await store.record(DRAFT)).feedback
    new = await store.record(replace(DRAFT, correction="3 years"))
    assert [(step.kind, step.subject) for step in new.steps] == [
        (MEMORY_DELETE, old.id),
        (MEMORY_PUT, new.feedback.id),
    ]
    assert (await store.get("ten_1", old.id)).status is CorrectionStatus.SUPERSEDED


async def test_a_quarantined_correction_owes_memory_nothing(database: AsyncEngine) -> None:
    recorded = await FeedbackStore(database).record(replace(DRAFT, correction="password: hunter2hunter2"))
    assert recorded.feedback.status is CorrectionStatus.QUARANTINED and not recorded.steps


async def test_withdrawing_twice_is_as_good_as_once(database: AsyncEngine) -> None:
    store = FeedbackStore(database)
    entry = (await store.record(DRAFT)).feedback
    assert [step.kind for step in (await store.withdraw("ten_1", entry.id)).steps] == [MEMORY_DELETE]
    again = await store.withdraw("ten_1", entry.id)
    assert again.feedback.status is CorrectionStatus.WITHDRAWN and not again.steps


async def test_a_withdrawn_correction_is_not_put_into_memory_later(database: AsyncEngine) -> None:
    store = FeedbackStore(database)
    entry = (await store.record(DRAFT)).feedback
    await store.withdraw("ten_1", entry.id)
    assert [step.kind for step in await store.pending(min_age_s=0)] == [MEMORY_DELETE]


async def test_another_tenant_finds_nothing(database: AsyncEngine) -> None:
    store = FeedbackStore(database)
    entry = (await store.record(DRAFT)).feedback
    with pytest.raises(FeedbackNotFound):
        await store.get("ten_2", entry.id)
    with pytest.raises(FeedbackNotFound):
        await store.withdraw("ten_2", entry.id)


async def test_pages_follow_each_other(database: AsyncEngine) -> None:
    store = FeedbackStore(database)
    ids = [(await store.record(replace(DRAFT, correction=f"{n} years"))).feedback.id for n in range(5)]
    first = await store.list("ten_1", limit=3)
    rest = await store.list("ten_1", limit=3, after=first[-1].id)
    assert [entry.id for entry in [*first, *rest]] == ids[::-1]


async def test_only_accepted_corrections_are_trained_on(database: AsyncEngine) -> None:
    store = FeedbackStore(database)
    await store.record(replace(DRAFT, correction=None, rating=1))
    await store.record(replace(DRAFT, correction="2 years"))
    latest = (await store.record(replace(DRAFT, correction="3 years"))).feedback
    assert await store.accepted("ten_1", "default") == [latest]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"correction": None}, "correction"),
        ({"correction": "  "}, "correction"),
        ({"rating": 5}, "rating"),
        ({"messages": []}, "messages"),
    ],
)
async def test_a_wrong_document_names_its_field(
    database: AsyncEngine, change: dict[str, object], param: str
) -> None:
    with pytest.raises(InvalidFeedback) as caught:
        await FeedbackStore(database).record(replace(DRAFT, **change))  # type: ignore[arg-type]
    assert caught.value.param == param
