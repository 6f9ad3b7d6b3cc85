"""The feedback table's rows as records, and the questions asked of it."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakValueDictionary

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from adapters.database import hold
from adapters.tables import versions
from training.screening import Standing, question_digest
from training.tables import dataset_corrections, interactions, learned
from training.tables import feedback as table
from training.types import SHADOW, CorrectionStatus, Feedback, Message

WAITING = [CorrectionStatus.ACCEPTED.value, CorrectionStatus.QUARANTINED.value]
"""Statuses of corrections that are in use or may yet be."""
_OUTPUTS_LOOKED_AT = 2000
_AT_ONCE = 1000


class Turns:
    """Transactions that write, of which a tenant has one at a time. Those that wait in this process hold no connection:
    one tenant's posts leave the pool to the others."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._here: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def alone(self, tenant_id: str) -> AsyncIterator[AsyncConnection]:
        """A transaction that waits for every other one of the tenant's: what it decides by what it reads still holds
        when it is committed."""
        here = self._here.setdefault(tenant_id, asyncio.Lock())
        async with here, self._engine.begin() as connection:
            if connection.dialect.name == "sqlite":
                await connection.exec_driver_sql("BEGIN IMMEDIATE")
            await hold(connection, f"feedback:{tenant_id}")
            yield connection


def row_of(entry: Feedback) -> dict[str, Any]:
    row = {column.name: getattr(entry, column.name, None) for column in table.columns}
    digest = None if entry.correction is None else question_digest(entry.messages)
    return row | {"status": entry.status.value, "question_digest": digest}


def name_questions(connection: sa.Connection) -> None:
    """Give every correction its question's digest: those of before there was one, and those that a worker of an
    earlier release has posted since. By id, so many at once; what somebody is writing waits for the next time."""
    mine = table.c.id == sa.bindparam("row")
    change = sa.update(table).where(mine).values(question_digest=sa.bindparam("digest"))
    page = sa.select(table.c.id, table.c.messages).order_by(table.c.id).limit(_AT_ONCE)
    page = page.where(table.c.correction.is_not(None), table.c.question_digest.is_(None))
    page = page.with_for_update(skip_locked=True)
    last = ""
    while found := connection.execute(page.where(table.c.id > last)).all():
        connection.execute(
            change, [{"row": row.id, "digest": question_digest(row.messages)} for row in found]
        )
        last = found[-1].id


def feedback_of(row: Mapping[str, Any]) -> Feedback:
    values = {name: row[name] for name in Feedback.__dataclass_fields__}
    values["status"] = CorrectionStatus(values["status"])
    return Feedback(**values)


async def select(connection: AsyncConnection, query: sa.Select[Any]) -> list[Feedback]:
    return [feedback_of(dict(row)) for row in (await connection.execute(query)).mappings()]


def one(tenant_id: str, feedback_id: str) -> sa.Select[Any]:
    return sa.select(table).where(table.c.tenant_id == tenant_id, table.c.id == feedback_id)


def corrections(tenant_id: str, adapter: str, statuses: Sequence[str]) -> sa.Select[Any]:
    """Oldest first."""
    mine = sa.and_(table.c.tenant_id == tenant_id, table.c.adapter == adapter)
    query = sa.select(table).where(mine, table.c.status.in_(statuses), table.c.correction.is_not(None))
    return query.order_by(table.c.created_at, table.c.id)


async def of_question(
    connection: AsyncConnection, tenant_id: str, adapter: str, messages: Sequence[Message]
) -> list[Feedback]:
    """Corrections of the conversation's question that are in use or may yet be, oldest first."""
    query = corrections(tenant_id, adapter, WAITING).order_by(None)  # in order, they would be found among all
    found = await select(connection, query.where(table.c.question_digest == question_digest(messages)))
    return sorted(found, key=lambda entry: (entry.created_at, entry.id))


async def standing(connection: AsyncConnection, tenant_id: str, adapter: str, contributor: str) -> Standing:
    """contributor: as `FeedbackDraft.contributor` names it."""
    who = sa.func.coalesce(sa.func.nullif(table.c.user, ""), table.c.author)
    mine = sa.func.count().filter(who == contributor)
    query = sa.select(mine, sa.func.count(), sa.func.count(who.distinct())).where(
        table.c.tenant_id == tenant_id,
        table.c.adapter == adapter,
        ~table.c.trusted,
        table.c.status == CorrectionStatus.ACCEPTED.value,
        table.c.question_digest.is_not(None),
    )
    mine_count, total, authors = (await connection.execute(query)).one()
    return Standing(mine_count, total, authors + (not mine_count))


def learned_by(tenant_id: str, version_id: str) -> sa.Select[Any]:
    """Newest first."""
    query = sa.select(table).join(learned, learned.c.correction_id == table.c.id)
    query = query.where(table.c.tenant_id == tenant_id, learned.c.version_id == version_id)
    return query.order_by(table.c.created_at.desc(), table.c.id.desc())


def beyond(tenant_id: str, after: str, newest_first: bool) -> sa.ColumnElement[bool]:
    """Rows past the one named, in the page's order."""
    here = sa.tuple_(table.c.created_at, table.c.id)
    there = sa.select(table.c.created_at, table.c.id).where(
        table.c.tenant_id == tenant_id, table.c.id == after
    )
    return here < there.scalar_subquery() if newest_first else here > there.scalar_subquery()


async def said_about(connection: AsyncConnection, tenant_id: str, response_id: str) -> int:
    """How many entries one response has."""
    mine = sa.and_(table.c.tenant_id == tenant_id, table.c.response_id == response_id)
    return int(await connection.scalar(sa.select(sa.func.count()).select_from(table).where(mine)) or 0)


async def own_output(connection: AsyncConnection, tenant_id: str, text: str) -> bool:
    """Whether one of the newest answers that the tenant's users got, without memory, is exactly this text."""
    newest = (
        sa.select(interactions.c.response, interactions.c.memory_ids)
        .where(interactions.c.tenant_id == tenant_id, interactions.c.arm != SHADOW)
        .order_by(interactions.c.at.desc())
        .limit(_OUTPUTS_LOOKED_AT)
        .subquery()
    )
    rows = await connection.execute(sa.select(newest.c.memory_ids).where(newest.c.response == text))
    return any(not memory_ids for memory_ids in rows.scalars())


async def trained_on(connection: AsyncConnection, tenant_id: str, feedback_id: str) -> list[str]:
    """Labels, such as `default@v3`, of the versions whose dataset held this correction, pruned ones too; oldest
    first."""
    query = (
        sa.select(versions.c.adapter, versions.c.number)
        .join(dataset_corrections, dataset_corrections.c.digest == versions.c.dataset_digest)
        .where(versions.c.tenant_id == tenant_id, dataset_corrections.c.correction_id == feedback_id)
        .order_by(versions.c.adapter, versions.c.number)
    )
    return [f"{row.adapter}@v{row.number}" for row in await connection.execute(query)]
