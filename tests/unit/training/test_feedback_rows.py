"""What screening is told of the other corrections, against a reading of them all."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from random import Random

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.unit.steps import steps
from training import feedback_rows
from training.drafts import FeedbackDraft
from training.feedback import FeedbackStore
from training.feedback_rows import WAITING, corrections, select
from training.screening import Reason, conversation_key, normalised
from training.tables import feedback, interactions
from training.types import CorrectionStatus, Feedback, ScreeningPolicy

ACCEPTED, QUARANTINED = CorrectionStatus.ACCEPTED, CorrectionStatus.QUARANTINED
RULES = ScreeningPolicy(contributors=3, contributor_share=0.4, contributor_count=4)
QUESTIONS = ("What is the warranty?", "what is  the WARRANTY", "Who is the mascot?", "Is it open?")
ANSWERS = ("2 years", "2 Years.", "3 years", "password: hunter2hunter2")
USERS = ("ann", "bob", "cid", "key_end", "", None)
Decision = tuple[set[str], str, set[str], set[str], str | None]
"""Reasons; status; what becomes superseded, what waits because of it; the entry that says the same already."""


def decided(draft: FeedbackDraft, known: Sequence[Feedback]) -> Decision:
    """The rules as people would say them, over every correction of the adapter that is in use or waits."""
    said, rules, reasons = normalised(str(draft.correction)), draft.rules, set[str]()
    same = [one for one in known if conversation_key(one.messages) == conversation_key(draft.messages)]
    live = [one for one in same if one.status is ACCEPTED]
    counted = [one for one in same if one in live or Reason.CONTRADICTION in one.reasons]
    if "password" in said:
        reasons.add(Reason.SECRET)
    alike = [one.id for one in live if normalised(str(one.correction)) == said]
    if alike and not reasons:
        return set(), ACCEPTED, set(), set(), alike[0]
    if draft.trusted:
        replaced = set() if reasons else {one.id for one in counted}
        return reasons, QUARANTINED if reasons else ACCEPTED, replaced, set(), None
    contested = set() if reasons else {one.id for one in live if not one.trusted}
    users = [one.user or one.author for one in known if one.status is ACCEPTED and not one.trusted]
    me = draft.user or draft.author
    mine, authors = users.count(me), len({*users, me})
    if authors >= rules.contributors and mine and mine + 1 > rules.contributor_share * (len(users) + 1):
        reasons.add(Reason.CONTRIBUTOR_SHARE)
    if mine >= rules.contributor_count:
        reasons.add(Reason.CONTRIBUTOR_COUNT)
    if any(normalised(str(one.correction)) != said for one in counted):
        reasons.add(Reason.CONTRADICTION)
    return reasons, QUARANTINED if reasons else ACCEPTED, set(), contested, None


def drawn(random: Random) -> FeedbackDraft:
    trusted = random.random() < 0.2
    return FeedbackDraft(
        tenant_id=random.choice(("ten_1", "ten_1", "ten_2")),
        adapter=random.choice(("default", "default", "other")),
        messages=[{"role": "user", "content": f"{random.choice(QUESTIONS)} {random.choice('abcd')}"}],
        author="key_1" if trusted else "key_end",
        trusted=trusted,
        user=random.choice(USERS),
        correction=random.choices(ANSWERS, (6, 3, 2, 1))[0],
        rules=RULES,
    )


async def known_to(store: FeedbackStore, database: AsyncEngine, draft: FeedbackDraft) -> list[Feedback]:
    async with database.connect() as connection:
        return await select(connection, corrections(draft.tenant_id, draft.adapter, WAITING))


@pytest.mark.parametrize("seed", range(4))
async def test_a_post_is_judged_as_by_a_reading_of_every_correction(database: AsyncEngine, seed: int) -> None:
    random, store = Random(seed), FeedbackStore(database)
    seen: set[str] = set()
    for _ in range(150):
        draft = drawn(random)
        before = await known_to(store, database, draft)
        reasons, status, superseded, contested, alike = decided(draft, before)
        recorded = await store.record(draft)
        after = {one.id: await store.get(draft.tenant_id, one.id) for one in before}
        moved = {
            name: one.status for name, one in after.items() if one.status is not known(before, name).status
        }
        if alike is not None:
            assert (recorded.created, recorded.feedback.id, moved) == (False, alike, {})
            seen.add("duplicate")
            continue
        assert (set(recorded.feedback.reasons), recorded.feedback.status) == (reasons, status)
        assert {name for name, now in moved.items() if now is CorrectionStatus.SUPERSEDED} == superseded
        assert {name for name, now in moved.items() if now is QUARANTINED} == contested
        assert moved.keys() == superseded | contested
        seen |= reasons | ({"superseded"} if superseded else set()) | ({"contested"} if contested else set())
        if random.random() < 0.3:
            await tidied(random, store, recorded.feedback)
    assert seen >= {"duplicate", "superseded", "contested", Reason.SECRET, Reason.CONTRADICTION}
    assert seen >= {Reason.CONTRIBUTOR_SHARE, Reason.CONTRIBUTOR_COUNT}


def known(entries: Sequence[Feedback], name: str) -> Feedback:
    return next(one for one in entries if one.id == name)


async def tidied(random: Random, store: FeedbackStore, entry: Feedback) -> None:
    """A person has a look at what was posted."""
    if entry.status is QUARANTINED:
        await store.review(entry.tenant_id, entry.id, "ada", accept=random.random() < 0.6)
    else:
        await store.withdraw(entry.tenant_id, entry.id)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("trusted", "each"), [(True, 0.1), (False, 30)])
async def test_what_a_post_costs_hardly_grows_with_the_corrections(
    database: AsyncEngine, trusted: bool, each: float
) -> None:
    """each: steps for each further correction."""
    plain = replace(
        drawn(Random(0)), tenant_id="ten_1", adapter="default", trusted=trusted, correction="2 years"
    )
    store = FeedbackStore(database)
    first = (await store.record(plain)).feedback
    few = await steps(database, lambda: store.record(asked(plain, "One?")))
    more = [replace(first, id=f"fb_{n}", messages=asked(plain, f"{n}?").messages) for n in range(2000)]
    async with database.begin() as connection:
        await connection.execute(sa.insert(feedback), [feedback_rows.row_of(entry) for entry in more])
    many = await steps(database, lambda: store.record(asked(plain, "Two?")))
    assert many - few <= each * len(more)


def asked(draft: FeedbackDraft, question: str) -> FeedbackDraft:
    return replace(draft, messages=[{"role": "user", "content": question}], rules=ScreeningPolicy())


async def unnamed(database: AsyncEngine) -> None:
    """As a worker of an earlier release leaves what it posts."""
    async with database.begin() as connection:
        await connection.execute(sa.update(feedback).values(question_digest=None))


async def test_what_an_earlier_release_has_posted_is_screened_against_once_its_question_is_named(
    database: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback_rows, "_AT_ONCE", 2)
    store = FeedbackStore(database)
    draft = replace(drawn(Random(0)), trusted=True, correction="2 years")
    posted = [(await store.record(asked(draft, f"{n}?"))).feedback for n in range(5)]
    rated = (await store.record(replace(draft, correction=None, rating=1))).feedback
    await unnamed(database)
    await store.name_questions()
    for n, entry in enumerate(posted):
        assert (await store.record(asked(draft, f"{n}?"))).feedback == entry
    async with database.connect() as connection:
        query = sa.select(feedback.c.id).where(feedback.c.question_digest.is_(None))
        assert (await connection.execute(query)).scalars().all() == [rated.id]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_that_no_question_is_to_be_named_is_seen_at_once(database: AsyncEngine) -> None:
    store = FeedbackStore(database)
    first = (await store.record(replace(drawn(Random(0)), trusted=True, correction="2 years"))).feedback
    async with database.begin() as connection:
        rows = [feedback_rows.row_of(replace(first, id=f"fb_{n}")) for n in range(2000)]
        await connection.execute(sa.insert(feedback), rows)
    assert await steps(database, store.name_questions) < 1000


async def test_what_nobody_was_told_is_no_output_of_ours(database: AsyncEngine) -> None:
    """A shadow's answer may be the very one that a user sends in."""
    row = {"tenant_id": "ten_1", "adapter": "default", "messages": [], "memory_ids": [], "passage_ids": []}
    row |= {"usage": {}, "latency_ms": 1.0, "status": 200, "at": datetime.now(UTC)}
    async with database.begin() as connection:
        said = [("stable", "Two years."), ("shadow", "Three years.")]
        rows = [{**row, "id": f"chatcmpl-{arm}", "arm": arm, "response": text} for arm, text in said]
        await connection.execute(sa.insert(interactions), rows)
        found = [await feedback_rows.own_output(connection, "ten_1", text) for _, text in said]
    assert found == [True, False]
