"""Who changed what, written in the transaction of the change itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from adapters.tables import audit as table

SYSTEM = "system"
"""Who acts where nobody is named."""


@dataclass(frozen=True)
class Act:
    """One change. `subject` is the id of what was changed; `detail` holds no secret."""

    actor: str
    action: str
    subject: str
    tenant_id: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """A recorded act."""

    id: int
    at: datetime
    act: Act


async def record(connection: AsyncConnection, act: Act) -> None:
    """Part of the caller's transaction: a change without its entry cannot be committed."""
    await connection.execute(
        sa.insert(table).values(
            at=datetime.now(UTC),
            actor=act.actor,
            action=act.action,
            tenant_id=act.tenant_id,
            subject=act.subject,
            detail=dict(act.detail),
        )
    )


async def record_alone(engine: AsyncEngine, act: Act) -> None:
    """For what happened outside the record (an engine's repair, an export), or was committed before."""
    async with engine.begin() as connection:
        await record(connection, act)


async def entries(
    engine: AsyncEngine, *, tenant_id: str | None = None, after: int | None = None, limit: int = 50
) -> Sequence[Entry]:
    """Newest first; `after` is the id that the page before ended with."""
    query = sa.select(table).order_by(table.c.id.desc()).limit(limit)
    if tenant_id is not None:
        query = query.where(table.c.tenant_id == tenant_id)
    if after is not None:
        query = query.where(table.c.id < after)
    async with engine.connect() as connection:
        rows = (await connection.execute(query)).mappings().all()
    return [_entry(row) for row in rows]


def _entry(row: sa.RowMapping) -> Entry:
    act = Act(row["actor"], row["action"], row["subject"], row["tenant_id"], row["detail"])
    return Entry(row["id"], row["at"], act)
