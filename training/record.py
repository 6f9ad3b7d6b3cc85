"""The counters that triggers look at, read from the record in two statements."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from training.rows import of_another_base
from training.runs import ACTIVE
from training.tables import feedback, runs
from training.triggers import Counters
from training.types import CorrectionStatus, RunStatus

_TOOK_UP = [status.value for status in RunStatus if status not in (RunStatus.FAILED, RunStatus.CANCELLED)]
"""Runs in these statuses have taken up the corrections that were in use when they were created."""
_IN_USE_AT = sa.func.coalesce(feedback.c.accepted_at, feedback.c.created_at, type_=feedback.c.created_at.type)


async def read_counters(engine: AsyncEngine, base_digest: str) -> Sequence[Counters]:
    """Counters of every adapter of this base model that has corrections which no run has taken up."""
    taken = (
        sa.select(sa.func.max(runs.c.created_at))
        .where(
            runs.c.tenant_id == feedback.c.tenant_id,
            runs.c.adapter == feedback.c.adapter,
            runs.c.status.in_(_TOOK_UP),
        )
        .correlate(feedback)
        .scalar_subquery()
    )
    waiting = (
        sa.select(
            feedback.c.tenant_id,
            feedback.c.adapter,
            sa.func.count().label("accepted"),
            sa.func.max(_IN_USE_AT).label("latest_at"),
        )
        .where(
            feedback.c.status == CorrectionStatus.ACCEPTED.value,
            feedback.c.correction.is_not(None),
            sa.or_(taken.is_(None), taken < _IN_USE_AT),
            ~of_another_base(feedback, base_digest),
        )
        .group_by(feedback.c.tenant_id, feedback.c.adapter)
    )
    newest = sa.select(
        runs.c.tenant_id,
        runs.c.adapter,
        runs.c.status,
        runs.c.updated_at,
        sa.func.row_number()
        .over(partition_by=(runs.c.tenant_id, runs.c.adapter), order_by=runs.c.created_at.desc())
        .label("place"),
    ).subquery()
    async with engine.connect() as connection:
        counted = (await connection.execute(waiting)).mappings().all()
        latest = (await connection.execute(sa.select(newest).where(newest.c.place == 1))).mappings().all()
    last = {(row["tenant_id"], row["adapter"]): row for row in latest}
    return [_counters(row, last.get((row["tenant_id"], row["adapter"]))) for row in counted]


def _counters(row: sa.RowMapping, run: sa.RowMapping | None) -> Counters:
    return Counters(
        tenant_id=row["tenant_id"],
        adapter=row["adapter"],
        accepted=row["accepted"],
        latest_at=row["latest_at"],
        last_run_at=run["updated_at"] if run else None,
        last_run_failed=run is not None and run["status"] == RunStatus.FAILED.value,
        busy=run is not None and run["status"] in [status.value for status in ACTIVE],
    )
