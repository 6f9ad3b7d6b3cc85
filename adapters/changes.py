"""The change log: how a write to the record reaches every gateway worker.

A writer appends one row inside its own transaction; a follower asks for the tenants named after the position
it has applied. Positions only grow, and a follower that has applied position n serves every write up to n. Only the
newest rows are kept: a follower that fell behind them loads the whole record, as it does when it starts.
"""

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database import hold
from adapters.tables import changes

_APPEND_LOCK = 0x67726166
"""Key of PostgreSQL's advisory lock around appends; any constant that nothing else uses would do."""

KEPT = 10_000
"""Rows. More changes than that are read faster as the whole record than tenant by tenant."""


async def append(connection: AsyncConnection, tenant_id: str) -> int:
    """Note that something of this tenant changed; returns the position. The caller commits.

    PostgreSQL hands out ids before commit, so a slow transaction could publish a lower position after
    followers have passed it. The lock, held until commit, makes positions visible in order.
    """
    await hold(connection, _APPEND_LOCK)
    result = await connection.execute(sa.insert(changes).values(tenant_id=tenant_id))
    (position,) = result.inserted_primary_key or (0,)
    return int(position)


async def since(connection: AsyncConnection, position: int) -> tuple[int, set[str] | None]:
    """The newest position, and the tenants that changed after `position`; None for them when the log no longer
    reaches back so far.

    One statement, so that no row goes between a look at the oldest and a look at the rest.
    """
    oldest = sa.select(sa.func.min(changes.c.id)).scalar_subquery().label("oldest")
    query = sa.select(changes.c.tenant_id, sa.func.max(changes.c.id).label("id"), oldest)
    query = query.where(changes.c.id > position).group_by(changes.c.tenant_id)
    rows = (await connection.execute(query)).all()
    newest = max((row.id for row in rows), default=position)
    if rows and rows[0].oldest > position + 1:
        return newest, None
    return newest, {row.tenant_id for row in rows}


async def latest(connection: AsyncConnection) -> int:
    """The newest position, 0 at first. Read it before a full load, then follow from there."""
    return int(await connection.scalar(sa.select(sa.func.max(changes.c.id))) or 0)


async def prune(connection: AsyncConnection) -> int:
    """Delete all but the newest `KEPT` positions; returns how many rows. The newest always stays, so that no position
    falls back. The caller commits."""
    newest = sa.select(sa.func.max(changes.c.id)).scalar_subquery()
    return (await connection.execute(sa.delete(changes).where(changes.c.id <= newest - KEPT))).rowcount
