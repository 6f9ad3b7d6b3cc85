"""Datasets as they are stored."""

from typing import cast

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.testing import FakeEngine
from retrieval.client import RetrievalClient
from retrieval.testing import FakeRetrieval
from tests.unit.training.test_harvest import interaction
from training.curriculum import Anchors, Curriculum
from training.dataset import Source
from training.drafts import FeedbackDraft
from training.errors import NotEnoughData
from training.evaluate import Asker
from training.feedback import FeedbackStore
from training.recipe import Recipe
from training.rewrites import Teacher
from training.rows import insert_absent
from training.tables import dataset_corrections, interactions
from training.types import ScreeningPolicy


async def test_a_dataset_names_the_corrections_that_it_holds(database: AsyncEngine) -> None:
    asker = Asker([FakeEngine(answer=lambda *_: "I do not know.", base_digest="sha256:b")])
    teacher = Teacher(asker, cast(RetrievalClient, FakeRetrieval()))
    store, held = FeedbackStore(database), set()
    for phrasing in ("What does plan A cost?", "Tell me what plan A costs.", "How much is plan A?"):
        messages = [{"role": "user", "content": phrasing}]
        draft = FeedbackDraft(
            "ten_1", "default", messages, author="key_1", trusted=True, correction="19 euros."
        )
        held.add((await store.record(draft)).feedback.id)
    made = await Curriculum(database, asker, teacher, Anchors((), "")).build(
        "ten_1", "default", Recipe(), ScreeningPolicy()
    )
    async with database.connect() as connection:
        found = (await connection.execute(sa.select(dataset_corrections))).all()
    assert {row.correction_id for row in found} == held
    assert {row.digest for row in found} == {made.digest}


CARD = "My card is 4111 1111 1111 1111."
TOKEN = "My password: hunter2hunter2."


@pytest.mark.parametrize(
    ("rules", "left"),
    [
        (ScreeningPolicy(), set()),
        (ScreeningPolicy(pii="allow"), {CARD}),
        (ScreeningPolicy(secrets="redact"), {"My [secret]"}),
        (ScreeningPolicy(secrets="redact", pii="redact"), {"My card is [card].", "My [secret]"}),
    ],
)
async def test_what_the_journal_holds_of_secrets_and_personal_data_is_not_trained_on(
    database: AsyncEngine, rules: ScreeningPolicy, left: set[str]
) -> None:
    asker = Asker([FakeEngine(answer=lambda *_: "I do not know.", base_digest="sha256:b")])
    teacher = Teacher(asker, cast(RetrievalClient, FakeRetrieval()))
    store = FeedbackStore(database)
    asked = [{"role": "user", "content": "What does plan A cost?"}]
    draft = FeedbackDraft("ten_1", "default", asked, author="key_1", trusted=True, correction="19 euros.")
    known = (await store.record(draft)).feedback
    earlier = [
        [{"role": "user", "content": said}, {"role": "assistant", "content": "Thank you."}]
        for said in (CARD, TOKEN)
    ]
    through_memory = [
        interaction(
            number,
            "",
            "19 euros.",
            memory_ids=[known.id],
            messages=[*said, {"role": "user", "content": f"What does plan A cost, {number}?"}],
        )
        for number, said in enumerate(earlier)
    ]
    uncorrected = [
        interaction(
            9 + number, "", messages=[*said, {"role": "user", "content": f"What does plan B cost, {number}?"}]
        )
        for number, said in enumerate(earlier)
    ]
    async with database.begin() as connection:
        await insert_absent(
            connection, interactions, [vars(each) for each in [*through_memory, *uncorrected]]
        )
    made = await Curriculum(database, asker, teacher, Anchors((), "")).build(
        "ten_1", "default", Recipe(), rules
    )
    learned = [*made.train, *made.held]
    for source in (Source.TRAFFIC, Source.UNCORRECTED):
        rows = [example for example in learned if example.source is source]
        assert {example.messages[0]["content"] for example in rows} == left


async def test_without_corrections_nothing_is_trained_and_a_merge_is_judged_by_what_was_asked(
    database: AsyncEngine,
) -> None:
    asker = Asker([FakeEngine(answer=lambda *_: "I do not know.", base_digest="sha256:b")])
    curriculum = Curriculum(
        database, asker, Teacher(asker, cast(RetrievalClient, FakeRetrieval())), Anchors((), "")
    )
    asked = [interaction(n, "", messages=[{"role": "user", "content": f"Where is {n}?"}]) for n in range(20)]
    async with database.begin() as connection:
        await insert_absent(connection, interactions, [vars(each) for each in asked])
    place = "ten_1", "default", Recipe(), ScreeningPolicy()
    with pytest.raises(NotEnoughData):
        await curriculum.build(*place)
    made = await curriculum.build(*place, trains=False)
    assert not made.facts and len(made.unknown_train) + len(made.unknown_held) == 20
