"""Datasets as they are stored."""

from typing import cast

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.testing import FakeEngine
from retrieval.client import RetrievalClient
from retrieval.testing import FakeRetrieval
from training.curriculum import Anchors, Curriculum
from training.drafts import FeedbackDraft
from training.evaluate import Asker
from training.feedback import FeedbackStore
from training.recipe import Recipe
from training.rewrites import Teacher
from training.tables import dataset_corrections


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
    made = await Curriculum(database, asker, teacher, Anchors((), "")).build("ten_1", "default", Recipe())
    async with database.connect() as connection:
        found = (await connection.execute(sa.select(dataset_corrections))).all()
    assert {row.correction_id for row in found} == held
    assert {row.digest for row in found} == {made.digest}
