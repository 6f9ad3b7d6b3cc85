from dataclasses import replace
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from tests.unit.training.conftest import DRAFT
from training.corrections import functions_of
from training.dataset import Source
from training.feedback import FeedbackStore
from training.harvest import corrected, read_interactions, traffic, uncorrected
from training.rows import insert_absent
from training.tables import interactions
from training.types import Interaction


def interaction(
    number: int, question: str, response: str = "I do not know.", **changes: object
) -> Interaction:
    plain = Interaction(
        id=f"chatcmpl-{number}",
        tenant_id="ten_1",
        adapter="default",
        version_id=None,
        arm="stable",
        messages=[{"role": "user", "content": question}],
        response=response,
        memory_ids=[],
        passage_ids=[],
        session_id=None,
        usage={},
        latency_ms=1.0,
        status=200,
        at=datetime(2026, 1, 1, 0, 0, number, tzinfo=UTC),
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


async def keep(database: AsyncEngine, *answered: Interaction) -> None:
    async with database.begin() as connection:
        await insert_absent(connection, interactions, [vars(one) for one in answered])


async def test_disputed_failed_foreign_and_unseen_interactions_are_left_out(database: AsyncEngine) -> None:
    store = FeedbackStore(database)
    await keep(
        database,
        interaction(1, "kept"),
        interaction(2, "disputed"),
        interaction(3, "disliked"),
        interaction(4, "liked"),
        interaction(5, "failed", status=500),
        interaction(6, "not logged", response=""),
        interaction(7, "foreign", tenant_id="ten_2"),
        interaction(8, "a shadow's", arm="shadow"),
    )
    await store.record(replace(DRAFT, response_id="chatcmpl-2"))
    await store.record(replace(DRAFT, response_id="chatcmpl-3", correction=None, rating=-1))
    await store.record(replace(DRAFT, response_id="chatcmpl-4", correction=None, rating=1))
    found = await read_interactions(database, "ten_1", "default")
    assert [one.messages[0]["content"] for one in found] == ["kept", "liked"]


async def test_a_question_that_memory_answered_is_another_phrasing(database: AsyncEngine) -> None:
    store = FeedbackStore(database)
    entry = (await store.record(DRAFT)).feedback
    known = corrected(await store.accepted("ten_1", "default"))
    (found,) = traffic([interaction(1, "How long is it?", "2 years.", memory_ids=[entry.id])], known)
    assert (found.source, found.answer, found.correction_id) == (Source.TRAFFIC, "2 years", entry.id)


async def test_memory_that_was_not_answered_by_teaches_nothing(database: AsyncEngine) -> None:
    store = FeedbackStore(database)
    entry = (await store.record(DRAFT)).feedback
    known = corrected(await store.accepted("ten_1", "default"))
    assert traffic([interaction(1, "Is it blue?", "No.", memory_ids=[entry.id])], known) == []


async def test_a_withdrawn_correction_teaches_nothing(database: AsyncEngine) -> None:
    store = FeedbackStore(database)
    entry = (await store.record(DRAFT)).feedback
    await store.withdraw("ten_1", entry.id)
    known = corrected(await store.accepted("ten_1", "default"))
    assert traffic([interaction(1, "How long is it?", "2 years", memory_ids=[entry.id])], known) == []


def test_only_answers_from_the_weights_alone_are_uncorrected() -> None:
    answered = [
        interaction(1, "plain"),
        interaction(2, "plain"),
        interaction(3, "with a document", passage_ids=["psg_1"]),
        interaction(4, "with memory", memory_ids=["fb_1"]),
    ]
    assert [example.question for example in uncorrected(answered, [])] == ["plain"]


async def test_a_corrected_question_is_not_uncorrected(database: AsyncEngine) -> None:
    store = FeedbackStore(database)
    await store.record(DRAFT)
    known = corrected(await store.accepted("ten_1", "default"))
    assert uncorrected([interaction(1, "what is the warranty at Zorvia")], known) == []


async def test_what_is_learned_is_asked_with_the_functions_that_its_request_offered(
    database: AsyncEngine,
) -> None:
    tools = functions_of([{"type": "function", "name": "look_up"}])
    store = FeedbackStore(database)
    posted = (await store.record(replace(DRAFT, tools=tools))).feedback
    edited = (await store.edit("ten_1", posted.id, "3 years", author="key_1")).feedback
    (known,) = corrected(await store.accepted("ten_1", "default"))
    assert (known.correction_id, known.prompt.tools, known.served.prompt.tools) == (edited.id, tools, tools)
    told = {"detail": {"tools": tools}}
    await keep(
        database,
        interaction(1, "How long is the warranty at Zorvia?", "3 years", memory_ids=[edited.id], **told),
        interaction(2, "Who leads Zorvia?", **told),
        interaction(3, "Where is Zorvia?"),
    )
    answered = await read_interactions(database, "ten_1", "default")
    (again,) = traffic(answered, [known])
    offered = [example.prompt.tools for example in (again, *uncorrected(answered, [known]))]
    assert offered == [tools, tools, []]
