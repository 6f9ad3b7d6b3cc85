"""Single reads and writes of rollouts, each inside a transaction of the caller's."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database import older
from adapters.errors import ConflictError, UnknownRollout
from adapters.rollout import Decision, Plan
from adapters.tables import rollout_decisions, rollouts
from adapters.types import Rollout, RolloutKind, RolloutStatus, Split

SPLITTING = (RolloutStatus.RUNNING.value, RolloutStatus.PAUSED.value)
"""Statuses in which traffic is shared; a watched version has all of it."""


async def insert(connection: AsyncConnection, rollout: Rollout) -> None:
    """Raises ConflictError while the adapter has an open rollout."""
    row = {**_changing(rollout), "id": rollout.id, "tenant_id": rollout.tenant_id}
    row |= {"adapter": rollout.adapter, "kind": rollout.kind.value, "version_id": rollout.version_id}
    row |= {"against_id": rollout.against_id, "plan": asdict(rollout.plan), "actor": rollout.actor}
    row |= {"budget_tokens": rollout.budget_tokens, "created_at": rollout.created_at, "revision": 1}
    try:
        await connection.execute(sa.insert(rollouts).values(row))
    except IntegrityError as error:
        raise ConflictError(f"adapter {rollout.adapter!r} has an open rollout") from error


async def update(connection: AsyncConnection, rollout: Rollout) -> None:
    """Write what may change of it. Raises ConflictError when somebody else wrote since it was read."""
    mine = sa.and_(rollouts.c.id == rollout.id, rollouts.c.revision == rollout.revision)
    values = {**_changing(rollout), "revision": rollout.revision + 1}
    if not (await connection.execute(sa.update(rollouts).where(mine).values(values))).rowcount:
        raise ConflictError(f"rollout {rollout.id} was changed by somebody else")


async def add_decision(connection: AsyncConnection, rollout_id: str, actor: str, decision: Decision) -> None:
    await connection.execute(
        sa.insert(rollout_decisions).values(
            rollout_id=rollout_id,
            at=datetime.now(UTC),
            actor=actor,
            action=decision.action.value,
            reason=decision.reason,
            numbers=dict(decision.numbers),
        )
    )


async def get(connection: AsyncConnection, tenant_id: str, adapter: str, rollout_id: str) -> Rollout:
    """Raises UnknownRollout, also for another tenant's."""
    query = sa.select(rollouts).where(
        rollouts.c.id == rollout_id, rollouts.c.tenant_id == tenant_id, rollouts.c.adapter == adapter
    )
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise UnknownRollout(rollout_id)
    return _rollout(row)


async def of_adapter(
    connection: AsyncConnection, tenant_id: str, adapter: str, limit: int, after: str | None = None
) -> Sequence[Rollout]:
    """A page, newest first, following the rollout `after`. Raises UnknownRollout."""
    made, name = rollouts.c.created_at, rollouts.c.id
    query = sa.select(rollouts).where(rollouts.c.tenant_id == tenant_id, rollouts.c.adapter == adapter)
    query = query.order_by(made.desc(), name.desc()).limit(limit)
    if after is not None:
        last = await get(connection, tenant_id, adapter, after)
        query = query.where(older(made, name, last.created_at, last.id))
    return [_rollout(row) for row in (await connection.execute(query)).all()]


async def open_ones(connection: AsyncConnection) -> Sequence[Rollout]:
    query = sa.select(rollouts).where(rollouts.c.slot.is_not(None)).order_by(rollouts.c.created_at)
    return [_rollout(row) for row in (await connection.execute(query)).all()]


async def is_busy(connection: AsyncConnection, tenant_id: str, adapter: str) -> bool:
    """Whether the adapter has an open rollout."""
    query = sa.select(rollouts.c.id).where(rollouts.c.tenant_id == tenant_id, rollouts.c.slot == adapter)
    return (await connection.execute(query)).first() is not None


async def has_open(connection: AsyncConnection, version_id: str) -> bool:
    """Whether this version is the one that an open rollout is about."""
    mine = rollouts.c.version_id == version_id, rollouts.c.slot.is_not(None)
    return (await connection.execute(sa.select(rollouts.c.id).where(*mine))).first() is not None


async def decisions(connection: AsyncConnection, rollout_id: str) -> Sequence[Mapping[str, Any]]:
    """Oldest first."""
    query = sa.select(rollout_decisions).where(rollout_decisions.c.rollout_id == rollout_id)
    rows = (await connection.execute(query.order_by(rollout_decisions.c.id))).mappings()
    return [dict(row) for row in rows]


async def read_splits(
    connection: AsyncConnection, tenants: Collection[str] | None
) -> Mapping[tuple[str, str], Split]:
    """By tenant and adapter; of some tenants, or of all."""
    query = sa.select(rollouts).where(rollouts.c.slot.is_not(None), rollouts.c.status.in_(SPLITTING))
    if tenants is not None:
        query = query.where(rollouts.c.tenant_id.in_(tenants))
    found = [_rollout(row) for row in (await connection.execute(query)).all()]
    return {(each.tenant_id, each.adapter): _split(each) for each in found}


def versions_in_use() -> sa.CompoundSelect[Any]:
    """Ids of the versions that open rollouts compare."""
    chosen = rollouts.c.slot.is_not(None)
    against = sa.select(rollouts.c.against_id).where(chosen, rollouts.c.against_id.is_not(None))
    return sa.union(sa.select(rollouts.c.version_id).where(chosen), against)


def _changing(rollout: Rollout) -> dict[str, Any]:
    return {
        "slot": rollout.adapter if rollout.open else None,
        "status": rollout.status.value,
        "step": rollout.step,
        "shares": list(rollout.shares),
        "slow_ms": rollout.slow_ms,
        "bounds": dict(rollout.bounds),
        "reason": rollout.reason,
        "step_started_at": rollout.step_started_at,
        "ended_at": rollout.ended_at,
    }


def _split(rollout: Rollout) -> Split:
    return Split(
        rollout.id,
        rollout.reference(),
        rollout.kind,
        rollout.version_id,
        rollout.against_id,
        rollout.shares[-1] / 100,
        rollout.budget_tokens,
    )


def _rollout(row: sa.Row[Any]) -> Rollout:
    return Rollout(
        id=row.id,
        tenant_id=row.tenant_id,
        adapter=row.adapter,
        kind=RolloutKind(row.kind),
        version_id=row.version_id,
        against_id=row.against_id,
        status=RolloutStatus(row.status),
        plan=Plan(**{**row.plan, "steps": tuple(row.plan["steps"])}),
        step=row.step,
        shares=row.shares,
        budget_tokens=row.budget_tokens,
        slow_ms=row.slow_ms,
        bounds=row.bounds,
        actor=row.actor,
        reason=row.reason,
        revision=row.revision,
        created_at=row.created_at,
        step_started_at=row.step_started_at,
        ended_at=row.ended_at,
    )
