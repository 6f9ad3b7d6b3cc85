"""What the journal and the feedback say about two versions: how many units each answered, and to how many of those
something happened. A unit is a session, a user, or a request without either; it counts once. Where two times are
compared, it counts by one request: over the longer time, more of a session's requests would go wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.rollout import WHOLE, Counts, Signal, StepCounts, part_of
from adapters.types import Alias, Rollout
from training.tables import feedback, interactions
from training.types import SHADOW, CorrectionStatus

NEWEST = 1000
"""Requests before a rollout that its references are taken from."""
FEW = 20
"""Below so many, nothing is known about usual latencies."""
SLOW_PART = 0.9
"""Part of the answers before a rollout that were quicker than what counts as slow in it."""
DISMISSED = (CorrectionStatus.WITHDRAWN.value, CorrectionStatus.REJECTED.value)

_made = interactions.c


@dataclass(frozen=True)
class Before:
    """What is known about what serves, before a candidate comes."""

    counts: Counts
    slow_ms: float | None


async def read_steps(connection: AsyncConnection, rollout: Rollout) -> list[StepCounts]:
    """By step, counting only the units that the step randomised; a step with all of the traffic compares nothing. Who
    gets the candidate because its swap is under way was not drawn for it."""
    found = []
    before = 0.0
    for number, share in enumerate(rollout.shares):
        if share >= WHOLE:
            break
        mine = sa.or_(_made.version_id.is_distinct_from(rollout.version_id), _made.draw < share / WHOLE)
        chosen = [_made.rollout == rollout.reference(number), _made.draw >= before / WHOLE, mine]
        by_version = await _by_version(connection, chosen, _made.draw, rollout.slow_ms)
        candidate = by_version.pop(rollout.version_id, Counts())
        stable = by_version.pop(rollout.against_id, Counts())
        found.append(StepCounts(part_of(share, before), stable, candidate))
        before = share
    return found


async def read_watch(connection: AsyncConnection, rollout: Rollout) -> Counts:
    """Of the version that took over, since it did."""
    chosen = [*_of(rollout.tenant_id, rollout.adapter), _made.at >= rollout.step_started_at]
    chosen.append(_made.version_id == rollout.version_id)
    counts = await _by_version(connection, [_made.id.in_(_firsts(chosen))], _made.id, rollout.slow_ms)
    return counts.get(rollout.version_id, Counts())


async def read_before(
    connection: AsyncConnection, tenant_id: str, adapter: str, version_id: str | None
) -> Before:
    """From the newest requests that a version answered."""
    mine = [*_of(tenant_id, adapter), _made.version_id == version_id]
    newest = sa.select(_made.id).where(*mine).order_by(_made.at.desc()).limit(NEWEST)
    took = sa.select(_made.latency_ms).where(_made.id.in_(newest), _made.status == 200)
    latencies = sorted((await connection.execute(took)).scalars().all())
    slow_ms = latencies[int(SLOW_PART * len(latencies))] if len(latencies) >= FEW else None
    firsts = _firsts([_made.id.in_(newest)])
    counts = await _by_version(connection, [_made.id.in_(firsts)], _made.id, slow_ms)
    return Before(counts.get(version_id, Counts()), slow_ms)


async def traffic(
    connection: AsyncConnection, tenant_id: str, adapter: str, now: datetime, seconds: float
) -> int:
    """Requests that an adapter's users made in the last so many seconds."""
    since = now - timedelta(seconds=seconds)
    query = sa.select(sa.func.count()).select_from(interactions)
    query = query.where(*_of(tenant_id, adapter), _made.at >= since)
    return int(await connection.scalar(query) or 0)


async def _by_version(
    connection: AsyncConnection,
    chosen: Sequence[sa.ColumnElement[bool]],
    unit: sa.ColumnElement[Any],
    slow_ms: float | None,
) -> dict[str | None, Counts]:
    conditions: Mapping[Signal, sa.ColumnElement[bool]] = {
        Signal.ERROR: _made.flaw == Signal.ERROR.value,
        Signal.EMPTY: _made.flaw == Signal.EMPTY.value,
        Signal.REFUSAL: _made.flaw == Signal.REFUSAL.value,
        Signal.SLOW: sa.false() if slow_ms is None else _made.latency_ms > slow_ms,
        Signal.COMPLAINT: _disputed(),
    }
    bad = [
        sa.func.count(sa.distinct(sa.case((condition, unit)))).label(signal.value)
        for signal, condition in conditions.items()
    ]
    query = sa.select(_made.version_id, sa.func.count(sa.distinct(unit)).label("units"), *bad)
    query = query.where(*chosen, _made.arm != SHADOW).group_by(_made.version_id)
    rows = (await connection.execute(query)).mappings().all()
    return {
        row["version_id"]: Counts(row["units"], {signal: row[signal.value] for signal in Signal})
        for row in rows
    }


def _disputed() -> sa.ColumnElement[bool]:
    said = sa.select(feedback.c.id).where(
        feedback.c.response_id == _made.id,
        feedback.c.tenant_id == _made.tenant_id,
        feedback.c.status.not_in(DISMISSED),
        sa.or_(feedback.c.rating < 0, feedback.c.correction.is_not(None)),
    )
    return said.correlate(interactions).exists()


def _firsts(chosen: Sequence[sa.ColumnElement[bool]]) -> sa.Select[tuple[str]]:
    """Of these requests, the id of each session's first; one without a session is its own."""
    session = sa.func.coalesce(_made.session_id, _made.id)
    place = sa.func.row_number().over(partition_by=session, order_by=(_made.at, _made.id))
    numbered = sa.select(_made.id, place.label("place")).where(*chosen).subquery()
    return sa.select(numbered.c.id).where(numbered.c.place == 1)


def _of(tenant_id: str, adapter: str) -> list[sa.ColumnElement[bool]]:
    """An adapter's own traffic: without shadows, and without versions that were asked for by name."""
    wanted = _made.arm.not_in((SHADOW, "pinned"))
    drawn = sa.or_(_made.arm != Alias.CANDIDATE.value, _made.rollout.is_not(None))
    return [_made.tenant_id == tenant_id, _made.adapter == adapter, wanted, drawn]
