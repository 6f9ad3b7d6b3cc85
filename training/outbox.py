"""Steps owed to other packages, written in the transaction that causes them and deleted once done.

So a correction that was acknowledged reaches memory even when retrieval is down at that moment, and a run that did not
go live by itself is told of, once.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from training.corrections import stands_alone
from training.rows import now
from training.tables import outbox as table
from training.types import CorrectionStatus, Feedback, RunStatus

MEMORY_PUT = "memory.put"
MEMORY_DELETE = "memory.delete"
MEMORY = (MEMORY_PUT, MEMORY_DELETE)
RUN_STOPPED = "run.stopped"
TOLD = frozenset({RunStatus.AWAITING_APPROVAL, RunStatus.REJECTED})
"""The tenant is told that a version did not pass the gate, or waits for a person."""


@dataclass(frozen=True)
class OutboxStep:
    """One step owed to another package. `payload` of memory's kinds: tenant_id; of `run.stopped`: status, reason. Those
    of memory say which correction memory may hold otherwise than the record does, and why: what it must hold is what
    the record says when they are carried out."""

    id: int
    kind: str
    subject: str
    payload: Mapping[str, Any]
    attempts: int


class Outbox:
    """The steps that are still owed."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def pending(
        self, kinds: Collection[str] = MEMORY, *, limit: int = 100, min_age_s: float = 2.0
    ) -> Sequence[OutboxStep]:
        """Steps that nobody finished, oldest first. `min_age_s` leaves the poster time to do it itself."""
        old_enough = table.c.created_at <= now() - timedelta(seconds=min_age_s)
        query = sa.select(table).where(old_enough, table.c.kind.in_(kinds)).order_by(table.c.id).limit(limit)
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query)).mappings().all()
        return [
            OutboxStep(row["id"], row["kind"], row["subject"], row["payload"], row["attempts"])
            for row in rows
        ]

    async def owed(self, corrections: Collection[str]) -> bool:
        """Whether a step of one of these is not done yet."""
        theirs = sa.and_(table.c.subject.in_(corrections), table.c.kind.in_(MEMORY))
        async with self._engine.connect() as connection:
            return bool(await connection.scalar(sa.select(sa.exists().where(theirs))))

    async def done(self, step: OutboxStep) -> None:
        """The step was carried out."""
        async with self._engine.begin() as connection:
            await settle(connection, step)

    async def failed(self, step_id: int) -> None:
        """The step could not be carried out; it stays owed."""
        statement = sa.update(table).where(table.c.id == step_id).values(attempts=table.c.attempts + 1)
        async with self._engine.begin() as connection:
            await connection.execute(statement)


async def settle(connection: AsyncConnection, step: OutboxStep) -> bool:
    """The step is done with this transaction; False: somebody else has done it, and its number may be another's."""
    mine = sa.and_(table.c.id == step.id, table.c.kind == step.kind, table.c.subject == step.subject)
    return bool((await connection.execute(sa.delete(table).where(mine))).rowcount)


def remembered(entry: Feedback) -> bool:
    """Whether memory holds this entry: an accepted correction whose question means the same on its own."""
    live = entry.correction is not None and entry.status is CorrectionStatus.ACCEPTED
    return live and stands_alone(entry.messages)


async def owe_memory(connection: AsyncConnection, entry: Feedback) -> list[OutboxStep]:
    """Put the entry into memory, if it belongs there."""
    if not remembered(entry):
        return []
    return [await _owe(connection, MEMORY_PUT, entry.id, {"tenant_id": entry.tenant_id})]


async def owe_forgetting(connection: AsyncConnection, tenant_id: str, feedback_id: str) -> list[OutboxStep]:
    """Take the entry out of memory. A step that put it there stays owed: whoever carries that out may be at it."""
    return [await _owe(connection, MEMORY_DELETE, feedback_id, {"tenant_id": tenant_id})]


async def owe_notice(connection: AsyncConnection, run_id: str, status: RunStatus, reason: str | None) -> None:
    """Tell the tenant what its run came to, if that is one of the ends that it is told of."""
    if status in TOLD:
        await _owe(connection, RUN_STOPPED, run_id, {"status": status.value, "reason": reason})


async def _owe(
    connection: AsyncConnection, kind: str, subject: str, payload: Mapping[str, Any]
) -> OutboxStep:
    values = {"kind": kind, "subject": subject, "payload": payload, "attempts": 0, "created_at": now()}
    result = await connection.execute(sa.insert(table).values(**values).returning(table.c.id))
    return OutboxStep(result.scalar_one(), kind, subject, payload, 0)
