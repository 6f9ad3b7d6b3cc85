"""What people said about responses. Every write and the outbox steps it causes are one transaction, and a tenant's
writes follow each other, so that of two that contradict each other one sees the other."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from adapters import audit
from adapters.audit import Act
from training import feedback_rows as rows
from training.corrections import TOOL_PARSER, text_of
from training.drafts import FeedbackDraft, LookedAt, Recorded, edited, entry_of, looked_at, validate
from training.errors import FeedbackConflict, FeedbackNotFound, IdempotencyReused, TooMuchFeedback
from training.outbox import OutboxStep, owe_forgetting, owe_memory
from training.rows import now
from training.screening import Reason, Screening, screen
from training.tables import feedback as table
from training.types import CorrectionStatus, Feedback, ScreeningPolicy

MAX_PER_RESPONSE = 20
"""Entries that untrusted authors may leave on one response."""


class FeedbackStore:
    """Feedback in SQL. Callers carry out the steps of a write; what they cannot, the outbox's drain does
    later."""

    def __init__(self, engine: AsyncEngine, tool_parser: str = TOOL_PARSER) -> None:
        """tool_parser: how the tenants' engine reads calls of tools."""
        self._engine = engine
        self._turns = rows.Turns(engine)
        self._tool_parser = tool_parser

    async def record(self, draft: FeedbackDraft) -> Recorded:
        """Screen and store; a repeat (same idempotency key, or the same correction of the same question)
        returns the first.

        Raises InvalidFeedback, IdempotencyReused, TooMuchFeedback.
        """
        validate(draft, self._tool_parser)
        if (repeated := await self._repeated(draft)) is not None:
            return repeated
        read = await asyncio.to_thread(looked_at, draft)
        try:
            async with self._turns.alone(draft.tenant_id) as connection:
                return await _record(connection, read)
        except IntegrityError:
            repeated = await self._repeated(draft)
            if repeated is None:
                raise
            return repeated

    async def edit(
        self,
        tenant_id: str,
        feedback_id: str,
        correction: str | Mapping[str, Any],
        *,
        author: str,
        rules: ScreeningPolicy | None = None,
    ) -> Recorded:
        """A new text for a correction, by an author who is trusted. The old one is superseded, whatever
        screening says of the new.

        Raises FeedbackNotFound, FeedbackConflict, InvalidFeedback.
        """
        draft = edited(await self.get(tenant_id, feedback_id), correction, author, rules or ScreeningPolicy())
        validate(draft, self._tool_parser)
        read = await asyncio.to_thread(looked_at, draft)
        async with self._turns.alone(tenant_id) as connection:
            old = await _waiting(connection, tenant_id, feedback_id)
            if text_of(correction) == old.correction:
                return Recorded(old, created=False)
            steps = await _retire(connection, old, CorrectionStatus.SUPERSEDED)
            recorded = await _record(connection, read, replaces=old.id)
        return replace(recorded, steps=[*steps, *recorded.steps])

    async def review(self, tenant_id: str, feedback_id: str, actor: str, *, accept: bool) -> Recorded:
        """A person's decision on a correction that waits. What it contradicts is superseded when it is
        accepted.

        Raises FeedbackNotFound, FeedbackConflict.
        """
        status = CorrectionStatus.ACCEPTED if accept else CorrectionStatus.REJECTED
        change: dict[str, Any] = {"status": status.value}
        if accept:
            change |= {"reasons": [], "trusted": True}
        stamp = {"accepted_at": now()} if accept else {}
        async with self._turns.alone(tenant_id) as connection:
            old = await _judge(connection, tenant_id, feedback_id, change | stamp)
            entry = replace(old, **change | {"status": status})
            steps = [] if accept else await owe_forgetting(connection, tenant_id, entry.id)
            for other in await _disputed(connection, entry) if accept else ():
                steps += await _retire(connection, other, CorrectionStatus.SUPERSEDED)
            steps += await owe_memory(connection, entry)
            await audit.record(connection, _act(actor, status.value, old, entry))
        return Recorded(entry, created=False, steps=steps)

    async def rewrite(
        self, tenant_id: str, feedback_id: str, correction: str | Mapping[str, Any], actor: str
    ) -> Recorded:
        """A person accepts another text instead of a correction that waits. Only its form is checked.

        Raises FeedbackNotFound, FeedbackConflict, InvalidFeedback.
        """
        change = {"status": CorrectionStatus.SUPERSEDED.value}
        async with self._turns.alone(tenant_id) as connection:
            old = await _judge(connection, tenant_id, feedback_id, change)
            draft = edited(old, correction, actor, ScreeningPolicy())
            validate(draft, self._tool_parser)
            steps = await owe_forgetting(connection, tenant_id, old.id)
            entry = entry_of(draft, Screening(CorrectionStatus.ACCEPTED), replaces=old.id)
            recorded = await _store(connection, entry, await _disputed(connection, entry))
            await audit.record(connection, _act(actor, "edited", old, entry))
        return replace(recorded, steps=[*steps, *recorded.steps])

    async def withdraw(self, tenant_id: str, feedback_id: str) -> Recorded:
        """Take a correction out of memory and of every later dataset; repeating it changes nothing.

        Raises FeedbackNotFound.
        """
        async with self._turns.alone(tenant_id) as connection:
            entry = await _get(connection, tenant_id, feedback_id)
            steps = await _retire(connection, entry, CorrectionStatus.WITHDRAWN)
            entry = await _get(connection, tenant_id, feedback_id)
            trained = await rows.trained_on(connection, tenant_id, feedback_id)
        return Recorded(entry, created=False, steps=steps, trained_versions=trained)

    async def get(self, tenant_id: str, feedback_id: str) -> Feedback:
        """Raises FeedbackNotFound, also for another tenant's."""
        async with self._engine.connect() as connection:
            return await _get(connection, tenant_id, feedback_id)

    async def list(
        self,
        tenant_id: str,
        *,
        adapter: str | None = None,
        status: CorrectionStatus | None = None,
        response_id: str | None = None,
        after: str | None = None,
        limit: int = 20,
        newest_first: bool = True,
    ) -> Sequence[Feedback]:
        """One page. `after` is the last id of the page before."""
        wanted = {"adapter": adapter, "status": status and status.value, "response_id": response_id}
        query = sa.select(table).where(table.c.tenant_id == tenant_id).limit(limit)
        for name, value in wanted.items():
            if value is not None:
                query = query.where(table.c[name] == value)
        if after is not None:
            query = query.where(rows.beyond(tenant_id, after, newest_first))
        order = (table.c.created_at, table.c.id)
        query = query.order_by(*(column.desc() if newest_first else column.asc() for column in order))
        async with self._engine.connect() as connection:
            return await rows.select(connection, query)

    async def accepted(self, tenant_id: str, adapter: str) -> Sequence[Feedback]:
        """The corrections that may be trained on, oldest first."""
        query = rows.corrections(tenant_id, adapter, [CorrectionStatus.ACCEPTED.value])
        async with self._engine.connect() as connection:
            return await rows.select(connection, query)

    async def learned_by(self, tenant_id: str, version_id: str, limit: int) -> tuple[Sequence[Feedback], int]:
        """The newest of the tenant's corrections that a version has learned, and how many there are."""
        async with self._engine.connect() as connection:
            newest = await rows.select(connection, rows.learned_by(tenant_id, version_id).limit(limit))
            every = rows.learned_by(tenant_id, version_id).order_by(None).subquery()
            count = await connection.scalar(sa.select(sa.func.count()).select_from(every))
        return newest, int(count or 0)

    async def name_questions(self) -> None:
        """Have screening find the corrections that a worker of an earlier release has posted."""
        async with self._engine.begin() as connection:
            await connection.run_sync(rows.name_questions)

    async def _repeated(self, draft: FeedbackDraft) -> Recorded | None:
        """What the idempotency key has stored. Raises IdempotencyReused when it came with another request."""
        if draft.idempotency_key is None:
            return None
        mine = sa.and_(table.c.tenant_id == draft.tenant_id, table.c.idempotency_key == draft.idempotency_key)
        async with self._engine.connect() as connection:
            row = (await connection.execute(sa.select(table).where(mine))).mappings().first()
        if row is None:
            return None
        if row["request_digest"] != draft.request_digest:
            raise IdempotencyReused("This idempotency key was used for another request.")
        return Recorded(rows.feedback_of(dict(row)), created=False)


async def _record(connection: AsyncConnection, read: LookedAt, replaces: str | None = None) -> Recorded:
    """Screen and store."""
    draft = read.draft
    if draft.response_id and not draft.trusted:
        said = await rows.said_about(connection, draft.tenant_id, draft.response_id)
        if said >= MAX_PER_RESPONSE:
            raise TooMuchFeedback("This response has as much feedback as one response may have.")
    decision = Screening(CorrectionStatus.ACCEPTED)
    same: list[Feedback] = []
    if draft.correction is not None:
        text, place = text_of(draft.correction), (draft.tenant_id, draft.adapter)
        same = await rows.of_question(connection, *place, draft.messages)
        decision = screen(
            draft.messages,
            draft.rejected,
            text,
            trusted=draft.trusted,
            same=same,
            standing=None if draft.trusted else await rows.standing(connection, *place, draft.contributor),
            own_output=await rows.own_output(connection, draft.tenant_id, text),
            rules=draft.rules,
            own=read.reasons,
        )
        decision = replace(decision, reasons=(*read.taken_out, *decision.reasons))
    by_id = {entry.id: entry for entry in same}
    if decision.duplicate_of is not None:
        return Recorded(by_id[decision.duplicate_of], created=False)
    replaced = [by_id[name] for name in decision.supersedes]
    recorded = await _store(connection, entry_of(draft, decision, replaces), replaced, draft)
    steps = list(recorded.steps)
    for name in decision.contests:
        steps += await _contest(connection, by_id[name])
    return replace(recorded, steps=steps)


async def _store(
    connection: AsyncConnection,
    entry: Feedback,
    replaced: Sequence[Feedback],
    draft: FeedbackDraft | None = None,
) -> Recorded:
    once = {"idempotency_key": draft.idempotency_key, "request_digest": draft.request_digest} if draft else {}
    await connection.execute(sa.insert(table).values(**rows.row_of(entry) | once))
    steps: list[OutboxStep] = []
    for other in replaced:
        steps += await _retire(connection, other, CorrectionStatus.SUPERSEDED)
    return Recorded(entry, created=True, steps=[*steps, *await owe_memory(connection, entry)])


async def _get(connection: AsyncConnection, tenant_id: str, feedback_id: str) -> Feedback:
    found = await rows.select(connection, rows.one(tenant_id, feedback_id))
    if not found:
        raise FeedbackNotFound(f"There is no feedback {feedback_id!r}.")
    return found[0]


async def _waiting(connection: AsyncConnection, tenant_id: str, feedback_id: str) -> Feedback:
    """A correction that is in use or may yet be. Raises FeedbackNotFound, FeedbackConflict."""
    entry = await _get(connection, tenant_id, feedback_id)
    if entry.status.value not in rows.WAITING:
        raise FeedbackConflict(f"Feedback {feedback_id!r} is {entry.status}.")
    return entry


async def _judge(
    connection: AsyncConnection, tenant_id: str, feedback_id: str, change: Mapping[str, Any]
) -> Feedback:
    """A correction that waits for a person, as it was before the change. Raises FeedbackNotFound, FeedbackConflict."""
    entry = await _get(connection, tenant_id, feedback_id)
    if entry.status is not CorrectionStatus.QUARANTINED:
        raise FeedbackConflict(f"Feedback {feedback_id!r} does not wait for a person.")
    await connection.execute(sa.update(table).where(table.c.id == entry.id).values(**change))
    return entry


def _act(actor: str, action: str, old: Feedback, new: Feedback) -> Act:
    return Act(actor, f"review.{action}", old.id, old.tenant_id, {"adapter": new.adapter, "result": new.id})


async def _disputed(connection: AsyncConnection, entry: Feedback) -> list[Feedback]:
    """Every other correction of the same question that is in use, or waits because it contradicts one."""
    same = await rows.of_question(connection, entry.tenant_id, entry.adapter, entry.messages)
    return [
        other
        for other in same
        if other.id != entry.id
        and (other.status is CorrectionStatus.ACCEPTED or Reason.CONTRADICTION in other.reasons)
    ]


async def _contest(connection: AsyncConnection, entry: Feedback) -> list[OutboxStep]:
    """An accepted correction of an end user waits, because another one says something else."""
    change = {"status": CorrectionStatus.QUARANTINED.value, "reasons": [Reason.CONTRADICTION.value]}
    await connection.execute(sa.update(table).where(table.c.id == entry.id).values(**change))
    return await owe_forgetting(connection, entry.tenant_id, entry.id)


async def _retire(connection: AsyncConnection, entry: Feedback, status: CorrectionStatus) -> list[OutboxStep]:
    """Take a live correction out of use."""
    mine = sa.and_(table.c.id == entry.id, table.c.status.in_(rows.WAITING))
    if (await connection.execute(sa.update(table).where(mine).values(status=status.value))).rowcount == 0:
        return []
    return await owe_forgetting(connection, entry.tenant_id, entry.id)
