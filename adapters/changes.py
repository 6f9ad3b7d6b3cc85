"""The change log: how a write to the record reaches every gateway worker.

A writer appends one row inside its own transaction; a follower asks for the tenants named after the position
it has applied. Positions only grow, and a follower that has applied position n serves every write up to n.
"""

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.tables import changes

_APPEND_LOCK = 0x67726166
"""Key of PostgreSQL's advisory lock around appends; any constant that nothing else uses would do."""


async def append(connection: AsyncConnection, tenant_id: str) -> int:
    """Note that something of this tenant changed; returns the position. The caller commits.

    PostgreSQL hands out ids before commit, so a slow transaction could publish a lower position after
    followers have passed it. The lock, held until commit, makes positions visible in order. SQLite has one
    writer anyway.
    """
    if connection.dialect.name == "postgresql":
        await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_APPEND_LOCK)))
    result = await connection.execute(sa.insert(changes).values(tenant_id=tenant_id))
    (position,) = result.inserted_primary_key or (0,)
    return int(position)


async def since(connection: AsyncConnection, position: int) -> tuple[int, set[str]]:
    """The newest position, and the tenants that changed after `position`."""
    query = sa.select(changes.c.tenant_id, sa.func.max(changes.c.id).label("id"))
    query = query.where(changes.c.id > position).group_by(changes.c.tenant_id)
    rows = (await connection.execute(query)).all()
    return max((row.id for row in rows), default=position), {row.tenant_id for row in rows}


async def latest(connection: AsyncConnection) -> int:
    """The newest position, 0 at first. Read it before a full load, then follow from there."""
    return int(await connection.scalar(sa.select(sa.func.max(changes.c.id))) or 0)
