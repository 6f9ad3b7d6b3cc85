"""What the record wants in the engines, read in pieces that do not grow with the number of tenants, and pins."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from adapters import acts, audit, changes, tables
from adapters.errors import ArtifactMissing
from adapters.records import require_version, to_version
from adapters.rollout_records import versions_in_use
from adapters.rules import WANTED_STATUSES
from adapters.types import Version


@dataclass(frozen=True)
class Want:
    """A version that the engines may hold."""

    version: Version
    must: bool
    """It is pinned, compared by a rollout or on its way to an alias."""
    pinned: bool = False


class Wants:
    """Over the registry's tables."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def wanted(
        self, base_digest: str, waiting: Collection[str], known: Collection[str], most: int
    ) -> dict[str, Want]:
        """Of one base model's versions, by id: what must be held; what requests wait for; of `known`, what an
        alias points to; and so many more of those that an alias points to, newest first, as there may be room for."""
        table, aliases = tables.versions, tables.aliases
        statuses = [status.value for status in WANTED_STATUSES]
        pinned = table.c.id.in_(sa.select(tables.pins.c.version_id))
        must = sa.or_(table.c.status.in_(statuses), pinned, table.c.id.in_(versions_in_use()))
        each = table.alias()
        pointed = sa.exists().where(aliases.c.version_id == each.c.id)
        newest = sa.select(each.c.id).where(pointed, each.c.base_digest == base_digest)
        newest = newest.order_by(each.c.created_at.desc(), each.c.id.desc()).limit(most)
        chosen = sa.union(
            sa.select(table.c.id).where(table.c.status.in_(statuses)),
            sa.select(tables.pins.c.version_id),
            sa.select(versions_in_use().subquery().c[0]),
            sa.select(table.c.id).where(table.c.id.in_(waiting)),
            sa.select(aliases.c.version_id).where(aliases.c.version_id.in_(known)),
            sa.select(newest.subquery().c.id),
        ).subquery()
        query = sa.select(table, must.label("must"), pinned.label("pinned"))
        query = query.join(chosen, chosen.c[0] == table.c.id)
        query = query.where(table.c.pruned_at.is_(None), table.c.base_digest == base_digest)
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query)).all()
        return {row.id: Want(to_version(row), bool(row.must), bool(row.pinned)) for row in rows}

    async def live(self, base_digest: str, after: str, limit: int) -> list[Version]:
        """A page of one base model's versions that an alias points to, of all tenants, by id."""
        table = tables.versions
        aliased = sa.select(tables.aliases.c.version_id).where(tables.aliases.c.version_id.is_not(None))
        query = sa.select(table).where(table.c.id.in_(aliased), table.c.base_digest == base_digest)
        query = query.where(table.c.id > after, table.c.pruned_at.is_(None)).order_by(table.c.id).limit(limit)
        async with self._engine.connect() as connection:
            return [to_version(row) for row in (await connection.execute(query)).all()]

    async def pin(self, version_id: str, actor: str) -> None:
        """Keep a version in the engines whether or not anybody asks for it; one that is pinned stays as it is. Raises
        UnknownVersion, ArtifactMissing for one that was pruned."""
        values = {"version_id": version_id, "actor": actor, "at": datetime.now(UTC)}
        mine = sa.select(tables.pins.c.version_id).where(tables.pins.c.version_id == version_id)
        async with self._engine.begin() as connection:
            tenant_id = (await require_version(connection, version_id)).tenant_id
            await changes.append(connection, tenant_id)  # its lock keeps retention, and other pins, apart
            version = await require_version(connection, version_id)
            if version.pruned_at is not None:
                raise ArtifactMissing(version.artifact_digest)
            if await connection.scalar(mine) is None:
                await connection.execute(sa.insert(tables.pins).values(values))
                await audit.record(connection, acts.of_version(version, "pinned", actor))

    async def unpin(self, version_id: str, actor: str) -> None:
        """Raises UnknownVersion."""
        pinned = sa.delete(tables.pins).where(tables.pins.c.version_id == version_id)
        async with self._engine.begin() as connection:
            if (await connection.execute(pinned)).rowcount:
                version = await require_version(connection, version_id)
                await audit.record(connection, acts.of_version(version, "unpinned", actor))

    async def pins(self) -> frozenset[str]:
        """All pinned versions."""
        async with self._engine.connect() as connection:
            return frozenset((await connection.execute(sa.select(tables.pins.c.version_id))).scalars())


async def is_wanted(connection: AsyncConnection, version_id: str) -> bool:
    """Whether a version belongs into the engines: an alias points to it, it is on its way to one, pinned, or compared
    by a rollout."""
    table = tables.versions
    aliased = sa.select(tables.aliases.c.version_id).where(tables.aliases.c.version_id == version_id)
    pinned = sa.select(tables.pins.c.version_id).where(tables.pins.c.version_id == version_id)
    statuses = [status.value for status in WANTED_STATUSES]
    coming = sa.select(table.c.id).where(table.c.id == version_id, table.c.status.in_(statuses))
    compared = sa.select(table.c.id).where(table.c.id == version_id, table.c.id.in_(versions_in_use()))
    found = await connection.execute(sa.union_all(aliased, pinned, coming, compared).limit(1))
    return found.first() is not None
