"""What the record does not keep for ever. Corrections are never among it."""

from collections.abc import Iterable
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from training.runs import OPEN
from training.tables import datasets, interactions, learned, run_events, runs
from training.types import MERGE

_AT_ONCE = 5_000
"""Rows of one transaction: others write in between."""
_PROGRESS = "progress"
"""The kind of event that the learner writes while it trains."""


async def needed_by_runs(connection: AsyncConnection, tenant_id: str) -> dict[str, str]:
    """Ids of the versions that a tenant's open runs judge or merge, and for which run."""
    statuses = [status.value for status in OPEN]
    query = sa.select(runs.c.id, runs.c.version_id, runs.c.recipe).where(runs.c.tenant_id == tenant_id)
    query = query.where(runs.c.status.in_(statuses))
    found: dict[str, str] = {}
    for run in (await connection.execute(query)).all():
        sources = run.recipe.get(MERGE, {}).get("sources", ())
        names = [run.version_id, *(source.get("version_id") for source in sources)]
        found |= {name: f"run {run.id} needs it" for name in names if name}
    return found


async def forget_versions(
    connection: AsyncConnection, version_ids: Iterable[str], dataset_digests: Iterable[str]
) -> None:
    """Drop what is of use only while a version can serve, in the transaction that ends this: what it had learned, and
    the text of its dataset, whose digest stays in the lineage and the names of its corrections in
    `dataset_corrections`. A dataset that an open run reads is kept."""
    statuses = [status.value for status in OPEN]
    read = sa.select(runs.c.dataset_digest).where(
        runs.c.status.in_(statuses), runs.c.dataset_digest.is_not(None)
    )
    await connection.execute(sa.delete(learned).where(learned.c.version_id.in_(list(version_ids))))
    gone = sa.and_(datasets.c.digest.in_(list(dataset_digests)), datasets.c.digest.not_in(read))
    await connection.execute(sa.delete(datasets).where(gone))


async def forget_interactions(engine: AsyncEngine, before: datetime) -> int:
    """Delete older interactions; returns how many."""
    return await _forget(engine, interactions, interactions.c.at < before)


async def forget_progress(engine: AsyncEngine, before: datetime) -> int:
    """Delete the progress of runs that ended earlier, up to a row for each second of training; returns how many rows.
    The rest of a run's story stays, as its row does: what it learned from, the gate's verdict, how it ended."""
    statuses = [status.value for status in OPEN]
    ended = sa.select(runs.c.id).where(runs.c.status.not_in(statuses), runs.c.updated_at < before)
    return await _forget(
        engine, run_events, sa.and_(run_events.c.run_id.in_(ended), run_events.c.kind == _PROGRESS)
    )


async def _forget(engine: AsyncEngine, table: sa.Table, old: sa.ColumnElement[bool]) -> int:
    some = sa.select(table.c.id).where(old).limit(_AT_ONCE)
    gone = 0
    while True:
        async with engine.begin() as connection:
            count = (await connection.execute(sa.delete(table).where(table.c.id.in_(some)))).rowcount
        gone += count
        if count < _AT_ONCE:
            return gone
