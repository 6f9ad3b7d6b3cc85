"""What people said about responses, and the steps in other packages that follow from it.

Every write and the outbox rows it causes are one transaction, so a correction that was acknowledged reaches
memory even when retrieval is down at that moment.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from training.errors import FeedbackNotFound, InvalidFeedback
from training.rows import aware, new_id, now
from training.screening import Screening, screen
from training.tables import feedback as table
from training.tables import outbox
from training.types import CorrectionStatus, Feedback, Message, question_of

MEMORY_PUT = "memory.put"
MEMORY_DELETE = "memory.delete"


@dataclass(frozen=True)
class FeedbackDraft:
    """Feedback as it arrives, its interaction already found or its messages given."""

    tenant_id: str
    adapter: str
    messages: Sequence[Message]
    """The client's own conversation, ending with the user's question; nothing that we composed into it."""
    author: str
    trusted: bool
    """Whether the author's key may replace what others said (scope `correct`)."""
    response_id: str | None = None
    rejected: str | None = None
    correction: str | None = None
    rating: int | None = None
    comment: str | None = None
    user: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    version_id: str | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True)
class OutboxStep:
    """One step owed to another package. `payload` of `memory.put`: id, tenant_id, question, answer; of
    `memory.delete`: id, tenant_id. Steps are idempotent and run oldest first."""

    id: int
    kind: str
    subject: str
    payload: Mapping[str, Any]
    attempts: int


@dataclass(frozen=True)
class Recorded:
    """What `record` or `withdraw` did. `created` is False for a repeat, whose feedback is the first one's."""

    feedback: Feedback
    created: bool
    steps: Sequence[OutboxStep] = ()


class FeedbackStore:
    """Feedback in SQL."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def record(self, draft: FeedbackDraft) -> Recorded:
        """Screen and store; a repeat (same idempotency key, or the same correction of the same question)
        returns the first. The caller carries out `steps` and reports each with `done`; what it cannot, the
        outbox's drain does later.

        Raises InvalidFeedback.
        """
        _validate(draft)
        try:
            async with self._engine.begin() as connection:
                return await self._record(connection, draft)
        except IntegrityError:
            repeated = await self._by_idempotency_key(draft)
            if repeated is None:
                raise
            return Recorded(repeated, created=False)

    async def _record(self, connection: AsyncConnection, draft: FeedbackDraft) -> Recorded:
        decision = Screening(CorrectionStatus.ACCEPTED)
        if draft.correction is not None:
            accepted = await _select(connection, _accepted(draft.tenant_id, draft.adapter))
            decision = screen(
                draft.messages, draft.rejected, draft.correction, trusted=draft.trusted, accepted=accepted
            )
        if decision.duplicate_of is not None:
            first = await _select(connection, sa.select(table).where(table.c.id == decision.duplicate_of))
            return Recorded(first[0], created=False)
        entry = _entry(draft, decision)
        await connection.execute(sa.insert(table).values(**_row(entry, draft.idempotency_key)))
        steps = []
        for replaced in decision.supersedes:
            steps += await _retire(connection, entry.tenant_id, replaced, CorrectionStatus.SUPERSEDED)
        if entry.correction is not None and entry.status is CorrectionStatus.ACCEPTED:
            steps.append(await _owe(connection, MEMORY_PUT, entry.id, _memory_payload(entry)))
        return Recorded(entry, created=True, steps=steps)

    async def get(self, tenant_id: str, feedback_id: str) -> Feedback:
        """Raises FeedbackNotFound, also for another tenant's."""
        async with self._engine.connect() as connection:
            found = await _select(connection, _one(tenant_id, feedback_id))
        if not found:
            raise FeedbackNotFound(feedback_id)
        return found[0]

    async def list(
        self,
        tenant_id: str,
        *,
        adapter: str | None = None,
        status: CorrectionStatus | None = None,
        after: str | None = None,
        limit: int = 20,
        newest_first: bool = True,
    ) -> Sequence[Feedback]:
        """One page. `after` is the last id of the page before."""
        query = sa.select(table).where(table.c.tenant_id == tenant_id).limit(limit)
        if adapter is not None:
            query = query.where(table.c.adapter == adapter)
        if status is not None:
            query = query.where(table.c.status == status.value)
        if after is not None:
            query = query.where(_beyond(tenant_id, after, newest_first))
        order = (table.c.created_at, table.c.id)
        query = query.order_by(*(column.desc() if newest_first else column.asc() for column in order))
        async with self._engine.connect() as connection:
            return await _select(connection, query)

    async def accepted(self, tenant_id: str, adapter: str) -> Sequence[Feedback]:
        """The corrections that may be trained on, oldest first."""
        async with self._engine.connect() as connection:
            return await _select(connection, _accepted(tenant_id, adapter))

    async def withdraw(self, tenant_id: str, feedback_id: str) -> Recorded:
        """Take a correction out of memory and of every later dataset; repeating it changes nothing.

        Raises FeedbackNotFound.
        """
        async with self._engine.begin() as connection:
            if not await _select(connection, _one(tenant_id, feedback_id)):
                raise FeedbackNotFound(feedback_id)
            steps = await _retire(connection, tenant_id, feedback_id, CorrectionStatus.WITHDRAWN)
            found = await _select(connection, _one(tenant_id, feedback_id))
        return Recorded(found[0], created=False, steps=steps)

    async def pending(self, *, limit: int = 100, min_age_s: float = 2.0) -> Sequence[OutboxStep]:
        """Steps that nobody finished, oldest first. `min_age_s` leaves the poster time to do it itself."""
        query = (
            sa.select(outbox)
            .where(outbox.c.created_at <= now() - timedelta(seconds=min_age_s))
            .order_by(outbox.c.id)
            .limit(limit)
        )
        async with self._engine.connect() as connection:
            return [_step(row) for row in (await connection.execute(query)).mappings()]

    async def done(self, step_id: int) -> None:
        """The step was carried out."""
        async with self._engine.begin() as connection:
            await connection.execute(sa.delete(outbox).where(outbox.c.id == step_id))

    async def failed(self, step_id: int) -> None:
        """The step could not be carried out; it stays owed."""
        statement = sa.update(outbox).where(outbox.c.id == step_id).values(attempts=outbox.c.attempts + 1)
        async with self._engine.begin() as connection:
            await connection.execute(statement)

    async def _by_idempotency_key(self, draft: FeedbackDraft) -> Feedback | None:
        if draft.idempotency_key is None:
            return None
        query = sa.select(table).where(
            table.c.tenant_id == draft.tenant_id, table.c.idempotency_key == draft.idempotency_key
        )
        async with self._engine.connect() as connection:
            found = await _select(connection, query)
        return found[0] if found else None


def _validate(draft: FeedbackDraft) -> None:
    if draft.correction is None and draft.rating is None and draft.comment is None:
        raise InvalidFeedback("Say something: a correction, a rating or a comment.", "correction")
    if draft.correction is not None and not draft.correction.strip():
        raise InvalidFeedback("A correction cannot be empty.", "correction")
    if draft.rating is not None and draft.rating not in (-1, 0, 1):
        raise InvalidFeedback("A rating is -1, 0 or 1.", "rating")
    if draft.correction is not None and not question_of(draft.messages).strip():
        raise InvalidFeedback("A correction needs a conversation with a user's question.", "messages")


def _entry(draft: FeedbackDraft, decision: Screening) -> Feedback:
    return Feedback(
        id=new_id("fb"),
        tenant_id=draft.tenant_id,
        adapter=draft.adapter,
        response_id=draft.response_id,
        messages=list(draft.messages),
        rejected=draft.rejected,
        correction=draft.correction,
        rating=draft.rating,
        comment=draft.comment,
        user=draft.user,
        metadata=dict(draft.metadata),
        author=draft.author,
        version_id=draft.version_id,
        status=decision.status,
        reasons=list(decision.reasons),
        created_at=now(),
    )


def _row(entry: Feedback, idempotency_key: str | None) -> dict[str, Any]:
    row = {column.name: getattr(entry, column.name, None) for column in table.columns}
    return row | {"status": entry.status.value, "idempotency_key": idempotency_key}


def _feedback(row: Mapping[str, Any]) -> Feedback:
    values = {name: row[name] for name in Feedback.__dataclass_fields__}
    values["status"] = CorrectionStatus(values["status"])
    values["created_at"] = aware(values["created_at"])
    return Feedback(**values)


async def _select(connection: AsyncConnection, query: sa.Select[Any]) -> list[Feedback]:
    return [_feedback(dict(row)) for row in (await connection.execute(query)).mappings()]


def _one(tenant_id: str, feedback_id: str) -> sa.Select[Any]:
    return sa.select(table).where(table.c.tenant_id == tenant_id, table.c.id == feedback_id)


def _accepted(tenant_id: str, adapter: str) -> sa.Select[Any]:
    return (
        sa.select(table)
        .where(
            table.c.tenant_id == tenant_id,
            table.c.adapter == adapter,
            table.c.status == CorrectionStatus.ACCEPTED.value,
            table.c.correction.is_not(None),
        )
        .order_by(table.c.created_at, table.c.id)
    )


def _beyond(tenant_id: str, after: str, newest_first: bool) -> sa.ColumnElement[bool]:
    """Rows past the one named, in the page's order."""
    here = sa.tuple_(table.c.created_at, table.c.id)
    there = sa.select(table.c.created_at, table.c.id).where(
        table.c.tenant_id == tenant_id, table.c.id == after
    )
    return here < there.scalar_subquery() if newest_first else here > there.scalar_subquery()


async def _retire(
    connection: AsyncConnection, tenant_id: str, feedback_id: str, status: CorrectionStatus
) -> list[OutboxStep]:
    """Take a live correction out of use; a step not yet carried out that would put it into memory is
    dropped."""
    live = [CorrectionStatus.ACCEPTED.value, CorrectionStatus.QUARANTINED.value]
    statement = (
        sa.update(table)
        .where(table.c.tenant_id == tenant_id, table.c.id == feedback_id, table.c.status.in_(live))
        .values(status=status.value)
    )
    if (await connection.execute(statement)).rowcount == 0:
        return []
    await connection.execute(
        sa.delete(outbox).where(outbox.c.subject == feedback_id, outbox.c.kind == MEMORY_PUT)
    )
    payload = {"id": feedback_id, "tenant_id": tenant_id}
    return [await _owe(connection, MEMORY_DELETE, feedback_id, payload)]


async def _owe(
    connection: AsyncConnection, kind: str, subject: str, payload: Mapping[str, Any]
) -> OutboxStep:
    values = {"kind": kind, "subject": subject, "payload": dict(payload), "attempts": 0, "created_at": now()}
    result = await connection.execute(sa.insert(outbox).values(**values).returning(outbox.c.id))
    return OutboxStep(result.scalar_one(), kind, subject, payload, 0)


def _memory_payload(entry: Feedback) -> dict[str, Any]:
    return {
        "id": entry.id,
        "tenant_id": entry.tenant_id,
        "question": entry.question,
        "answer": entry.correction,
    }


def _step(row: Mapping[Any, Any]) -> OutboxStep:
    return OutboxStep(row["id"], row["kind"], row["subject"], row["payload"], row["attempts"])
