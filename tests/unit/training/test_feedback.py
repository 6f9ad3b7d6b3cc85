import asyncio
from dataclasses import replace

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.tables import versions
from tests.unit.training.conftest import DRAFT
from training.errors import (
    FeedbackConflict,
    FeedbackNotFound,
    IdempotencyReused,
    InvalidFeedback,
    TooMuchFeedback,
)
from training.feedback import MAX_PER_RESPONSE, FeedbackStore
from training.outbox import MEMORY_DELETE, MEMORY_PUT, Outbox
from training.retention import forget_versions
from training.rows import now
from training.tables import dataset_corrections
from training.types import CorrectionStatus, ScreeningPolicy


async def test_a_correction_is_stored_with_the_step_that_puts_it_into_memory(database: AsyncEngine) -> None:
    store = FeedbackStore(database)
    recorded = await store.record(DRAFT)
    (step,) = recorded.steps
    assert (step.kind, step.subject) == (MEMORY_PUT, recorded.feedback.id)
    assert await store.get("ten_1", recorded.feedback.id) == recorded.feedback


async def test_a_step_is_owed_until_it_is_done(database: AsyncEngine) -> None:
    store = FeedbackStore(database)
    (step,) = (await store.record(DRAFT)).steps
    await Outbox(database).failed(step.id)
    (owed,) = await Outbox(database).pending(min_age_s=0)
    assert owed.attempts == 1
    await Outbox(database).done(step)
    assert await Outbox(database).pending(min_age_s=0) == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_who_is_done_late_settles_nobody_elses_step(database: AsyncEngine) -> None:
    store = FeedbackStore(database)
    (first,) = (await store.record(DRAFT)).steps
    await Outbox(database).done(first)
    question = [{"role": "user", "content": "What is the mascot at Zorvia?"}]
    (second,) = (await store.record(replace(DRAFT, messages=question))).steps
    assert second.id == first.id, "SQLite gives the number of a row that is gone to the next"
    await Outbox(database).done(first)
    assert await Outbox(database).owed([second.subject])


async def test_a_young_step_is_left_to_its_poster(database: AsyncEngine) -> None:
    store = FeedbackStore(database)
    await store.record(DRAFT)
    assert await Outbox(database).pending(min_age_s=60) == []


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


async def test_the_same_key_with_another_request_is_refused(database: AsyncEngine) -> None:
    store = FeedbackStore(database)
    draft = replace(DRAFT, idempotency_key="once", request_digest="a")
    await store.record(draft)
    with pytest.raises(IdempotencyReused):
        await store.record(replace(draft, correction="9 years", request_digest="b"))


async def test_an_edit_keeps_the_old_text_as_superseded(database: AsyncEngine) -> None:
    store = FeedbackStore(database)
    old = (await store.record(DRAFT)).feedback
    new = await store.edit("ten_1", old.id, "4 years", author="key_1")
    assert (await store.get("ten_1", old.id)).status is CorrectionStatus.SUPERSEDED
    assert (new.feedback.replaces, [step.kind for step in new.steps]) == (old.id, [MEMORY_DELETE, MEMORY_PUT])
    with pytest.raises(FeedbackConflict):
        await store.edit("ten_1", old.id, "5 years", author="key_1")


async def test_a_rejected_correction_is_never_used(database: AsyncEngine) -> None:
    store = FeedbackStore(database)
    entry = (await store.record(replace(DRAFT, correction="password: hunter2hunter2"))).feedback
    await store.review("ten_1", entry.id, "ada", accept=False)
    assert (await store.get("ten_1", entry.id)).status is CorrectionStatus.REJECTED
    with pytest.raises(FeedbackConflict):
        await store.review("ten_1", entry.id, "ada", accept=True)


async def test_a_policy_can_have_secrets_taken_out(database: AsyncEngine) -> None:
    rules = ScreeningPolicy(secrets="redact")
    draft = replace(DRAFT, correction="Use password: hunter2hunter2 there", rules=rules)
    entry = (await FeedbackStore(database).record(draft)).feedback
    assert (entry.correction, entry.status) == ("Use [secret] there", CorrectionStatus.ACCEPTED)
    assert entry.reasons == ["secret_redacted"]


async def test_a_follow_up_is_learned_from_but_not_remembered(database: AsyncEngine) -> None:
    follow_up = [
        *DRAFT.messages,
        {"role": "assistant", "content": "2 years"},
        {"role": "user", "content": "And in blue?"},
    ]
    recorded = await FeedbackStore(database).record(replace(DRAFT, messages=follow_up))
    assert recorded.feedback.status is CorrectionStatus.ACCEPTED and not recorded.steps


async def test_a_tool_call_is_stored_as_given_and_remembered_as_text(database: AsyncEngine) -> None:
    call = {"type": "function", "function": {"name": "refund", "arguments": '{"order": 7}'}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    recorded = await FeedbackStore(database).record(replace(DRAFT, correction=message))
    text = '<tool_call>\n{"name":"refund","arguments":{"order":7}}\n</tool_call>'
    assert len(recorded.steps) == 1
    assert (recorded.feedback.correction_message, recorded.feedback.correction) == (message, text)


async def test_withdrawing_names_the_versions_trained_on_it(database: AsyncEngine) -> None:
    store = FeedbackStore(database)
    entry = (await store.record(DRAFT)).feedback
    held = {"digest": "sha256:d", "correction_id": entry.id}
    version = {"tenant_id": "ten_1", "adapter": "default", "artifact_digest": "sha256:a", "base_digest": "b"}
    version |= {"recipe": {}, "metrics": {}, "status": "stable", "created_at": now()}
    async with database.begin() as connection:
        await connection.execute(sa.insert(dataset_corrections).values(**held))
        for number, digest in ((1, "sha256:d"), (2, "sha256:other")):
            row = {"id": f"ver_{number}", "number": number, "dataset_digest": digest, **version}
            await connection.execute(sa.insert(versions).values(**row))
        foreign = {"id": "ver_3", "number": 3, "dataset_digest": "sha256:d", **version, "tenant_id": "ten_2"}
        await connection.execute(sa.insert(versions).values(**foreign))
        await forget_versions(connection, ["ver_1"], ["sha256:d"])
    assert (await store.withdraw("ten_1", entry.id)).trained_versions == ["default@v1"]


async def test_one_response_gets_so_much_feedback_of_untrusted_authors_and_no_more(
    database: AsyncEngine,
) -> None:
    store = FeedbackStore(database)
    said = replace(DRAFT, correction=None, trusted=False, rating=1, response_id="chatcmpl-1")
    for number in range(MAX_PER_RESPONSE):
        assert (await store.record(replace(said, idempotency_key=f"key {number}"))).created
    with pytest.raises(TooMuchFeedback):
        await store.record(replace(said, idempotency_key="one more"))
    assert not (await store.record(replace(said, idempotency_key="key 3"))).created
    for other in (
        replace(said, response_id="chatcmpl-2"),
        replace(said, tenant_id="ten_2"),
        replace(DRAFT, response_id="chatcmpl-1"),
    ):
        assert (await store.record(other)).created
