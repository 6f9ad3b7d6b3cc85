"""Raw material for a dataset, from the record: corrections, and what traffic says about them.

The journal is the teacher: a question that was answered through a memory entry, and not disputed since, is
another phrasing of that correction; a question that needed neither memory nor documents, and that nobody
disputed, is one that the adapter must not start to guess at.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from training.dataset import Example, Source
from training.evaluate import right
from training.journal import interaction_of
from training.screening import conversation_key, held_in, redacted
from training.tables import feedback, interactions
from training.types import SHADOW, Feedback, Interaction, ScreeningPolicy

NEWEST = 4000
"""Interactions looked at, newest first."""
TRAFFIC_PER_CORRECTION = 16


async def read_interactions(engine: AsyncEngine, tenant_id: str, adapter: str) -> Sequence[Interaction]:
    """The adapter's newest answered interactions whose text was kept and that nobody disputed, oldest
    first."""
    disputed = sa.select(feedback.c.response_id).where(
        feedback.c.tenant_id == tenant_id,
        feedback.c.response_id.is_not(None),
        sa.or_(feedback.c.correction.is_not(None), feedback.c.rating < 0),
    )
    query = (
        sa.select(interactions)
        .where(
            interactions.c.tenant_id == tenant_id,
            interactions.c.adapter == adapter,
            interactions.c.status == 200,
            interactions.c.response != "",
            interactions.c.arm != SHADOW,
            interactions.c.id.not_in(disputed),
        )
        .order_by(interactions.c.at.desc())
        .limit(NEWEST)
    )
    async with engine.connect() as connection:
        rows: Iterable[Mapping[Any, Any]] = (await connection.execute(query)).mappings().all()
    return [interaction_of(dict(row)) for row in rows][::-1]


def screened(answered: Iterable[Interaction], rules: ScreeningPolicy) -> list[Interaction]:
    """The interactions that may be learned from, without what the policy takes out. One that still holds secrets or
    personal data is left out: no person looks at it."""
    found: list[Interaction] = []
    for interaction in answered:
        if held_in(interaction.messages, rules):
            messages, _ = redacted(interaction.messages, rules)
            if held_in(messages, rules):
                continue
            interaction = replace(interaction, messages=messages)
        found.append(interaction)
    return found


def corrected(corrections: Iterable[Feedback]) -> list[Example]:
    """The corrections themselves."""
    return [
        Example(
            list(entry.messages), entry.correction, Source.CORRECTION, entry.id, tools=list(entry.tools or ())
        )
        for entry in corrections
        if entry.correction is not None
    ]


def traffic(answered: Iterable[Interaction], corrections: Collection[Example]) -> list[Example]:
    """Other phrasings of corrections: questions that memory answered as approved."""
    by_id = {example.correction_id: example for example in corrections}
    taken = {example.key for example in corrections}
    counts: dict[str, int] = {}
    found: dict[str, Example] = {}
    for interaction in reversed(list(answered)):
        for correction_id in interaction.memory_ids:
            known = by_id.get(correction_id)
            if known is None or not right(interaction.response, known.answer):
                continue
            example = _asked(interaction, known.answer, Source.TRAFFIC, correction_id)
            fresh = example.key not in taken and example.key not in found
            if fresh and counts.get(correction_id, 0) < TRAFFIC_PER_CORRECTION:
                counts[correction_id] = counts.get(correction_id, 0) + 1
                found[example.key] = example
            break
    return list(found.values())[::-1]


def _asked(
    interaction: Interaction, answer: str, source: Source, correction_id: str | None = None
) -> Example:
    tools = list((interaction.detail or {}).get("tools", ()))
    return Example(list(interaction.messages), answer, source, correction_id, tools=tools)


def uncorrected(answered: Iterable[Interaction], known: Collection[Example]) -> list[Example]:
    """Questions answered from the weights alone that nobody corrected. Their answer here is what was said;
    what counts is what the base says now."""
    taken = {example.key for example in known}
    found = {
        conversation_key(interaction.messages): _asked(interaction, interaction.response, Source.UNCORRECTED)
        for interaction in answered
        if not interaction.memory_ids and not interaction.passage_ids and interaction.messages
    }
    return [example for key, example in found.items() if key not in taken]
