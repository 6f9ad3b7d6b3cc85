"""The registry: which adapters and versions exist, where each version stands, and what every alias points to.

Every write appends to the audit log in the same transaction, and to the change log that gateway workers follow. A
write comes first in each, because it takes the database's write lock: what is read after it stays true until
the commit.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from adapters import acts, audit, changes, tables
from adapters.audit import SYSTEM, Act
from adapters.errors import ArtifactMissing, ConflictError, UnknownAdapter, UnknownVersion, WrongBase
from adapters.guards import Guard
from adapters.records import (
    add_history,
    find_adapter,
    of,
    of_run,
    point_alias,
    read_alias,
    read_routes,
    require_member,
    require_version,
    stable_moves,
    to_adapter,
    to_move,
    to_version,
)
from adapters.registering import insert_version, new_version
from adapters.rules import stable_line
from adapters.statuses import pass_on, set_status
from adapters.types import Adapter, AdapterRoutes, Alias, AliasMove, Lineage, Version, VersionStatus
from adapters.wants import is_wanted

Told = Callable[[AsyncConnection, AliasMove], Awaitable[None]]
_ATTEMPTS = 5
"""How often a write that lost a race for a unique key is tried again."""


class Registry:
    """The record of adapters over one SQL database. Shared freely; every method is one transaction."""

    def __init__(self, engine: AsyncEngine, rolled_back: Told | None = None) -> None:
        """rolled_back: told of every rollback, as a part of its transaction."""
        self._engine = engine
        self._rolled_back = rolled_back

    # ------------------------------------------------------------------------------------ adapters

    async def ensure_adapter(
        self, tenant_id: str, name: str, base_digest: str, actor: str = SYSTEM
    ) -> Adapter:
        """The adapter of this name, made if it is missing. Raises WrongBase when it belongs to another
        base."""
        for _ in range(_ATTEMPTS):
            found = await self.adapter(tenant_id, name)
            if found is not None:
                if found.base_digest != base_digest:
                    raise WrongBase(found.base_digest, base_digest)
                return found
            await self._add_adapter(Adapter(tenant_id, name, base_digest, datetime.now(UTC)), actor)
        raise ConflictError(f"adapter {name!r} of tenant {tenant_id} could not be made")

    async def adapters_of(self, tenant_id: str, after: str | None = None, limit: int = 50) -> list[Adapter]:
        """A page of the tenant's adapters by name, following the name `after`."""
        table = tables.adapters
        query = sa.select(table).where(table.c.tenant_id == tenant_id).order_by(table.c.name).limit(limit)
        if after is not None:
            query = query.where(table.c.name > after)
        async with self._engine.connect() as connection:
            return [to_adapter(row) for row in (await connection.execute(query)).all()]

    async def adapter(self, tenant_id: str, name: str) -> Adapter | None:
        """None for one that this tenant does not have."""
        async with self._engine.connect() as connection:
            return await find_adapter(connection, tenant_id, name)

    async def _add_adapter(self, adapter: Adapter, actor: str) -> None:
        """Insert, or do nothing when somebody else just did."""
        created = Act(actor, "adapter.created", adapter.name, adapter.tenant_id)
        with suppress(IntegrityError):
            async with self._engine.begin() as connection:
                await changes.append(connection, adapter.tenant_id)
                await connection.execute(sa.insert(tables.adapters).values(asdict(adapter)))
                await audit.record(connection, created)

    # ------------------------------------------------------------------------------------ versions

    async def register(
        self,
        tenant_id: str,
        adapter: str,
        artifact_digest: str,
        lineage: Lineage,
        metrics: Mapping[str, Any],
        status: VersionStatus = VersionStatus.REGISTERED,
    ) -> Version:
        """Record a new version under the adapter's next number; a run has one, which comes back when it registers
        again. Whoever stored its files before stores them again afterwards: until now, retention may have deleted
        them.

        Raises UnknownAdapter, WrongBase, and ValueError for a status other than registered or gating.
        """
        if status not in (VersionStatus.REGISTERED, VersionStatus.GATING):
            raise ValueError(f"a version cannot begin as {status}")
        values = new_version(tenant_id, adapter, artifact_digest, lineage, metrics, status)
        return (await self._registered(values, once=False))[0]

    async def register_once(
        self, tenant_id: str, adapter: str, artifact_digest: str, lineage: Lineage, metrics: Mapping[str, Any]
    ) -> tuple[Version, bool]:
        """As `register`, and True; or, when the adapter has a version of this artifact, that one and False."""
        values = new_version(tenant_id, adapter, artifact_digest, lineage, metrics)
        return await self._registered(values, once=True)

    async def _registered(self, values: Mapping[str, Any], *, once: bool) -> tuple[Version, bool]:
        for _ in range(_ATTEMPTS):
            with suppress(IntegrityError):
                async with self._engine.begin() as connection:
                    return await insert_version(connection, values, once=once)
        raise ConflictError(
            f"adapter {values['adapter']!r} of tenant {values['tenant_id']} gets too many versions at once"
        )

    async def version(self, version_id: str) -> Version:
        """Raises UnknownVersion."""
        async with self._engine.connect() as connection:
            return await require_version(connection, version_id)

    async def version_of_run(self, tenant_id: str, adapter: str, run_id: str) -> Version | None:
        """The version that a run registered, if it came so far."""
        async with self._engine.connect() as connection:
            return await of_run(connection, tenant_id, adapter, run_id)

    async def version_by_number(self, tenant_id: str, adapter: str, number: int) -> Version:
        """Raises UnknownVersion."""
        table = tables.versions
        query = sa.select(table).where(*of(table, tenant_id, adapter), table.c.number == number)
        async with self._engine.connect() as connection:
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            raise UnknownVersion(f"{adapter}@v{number}")
        return to_version(row)

    async def versions(
        self, tenant_id: str, adapter: str, after: str | None = None, limit: int = 20, order: str = "desc"
    ) -> list[Version]:
        """A page of an adapter's versions by number, following the version `after`. Raises UnknownVersion."""
        table = tables.versions
        query = sa.select(table).where(*of(table, tenant_id, adapter)).limit(limit)
        query = query.order_by(table.c.number if order == "asc" else table.c.number.desc())
        async with self._engine.connect() as connection:
            if after is not None:
                last = await require_member(connection, tenant_id, adapter, after)
                number = table.c.number
                query = query.where(number > last.number if order == "asc" else number < last.number)
            return [to_version(row) for row in (await connection.execute(query)).all()]

    async def with_status(self, status: VersionStatus) -> list[Version]:
        """All tenants' versions in this status, oldest first."""
        table = tables.versions
        query = sa.select(table).where(table.c.status == status.value)
        async with self._engine.connect() as connection:
            rows = await connection.execute(query.order_by(table.c.created_at, table.c.id))
            return [to_version(row) for row in rows.all()]

    async def set_status(
        self, version_id: str, status: VersionStatus, actor: str = SYSTEM, reason: str = ""
    ) -> None:
        """Move a version along a legal transition; setting the status that it has changes nothing. Raises
        UnknownVersion, IllegalTransition."""
        async with self._engine.begin() as connection:
            await set_status(connection, version_id, status, actor, reason)

    # ------------------------------------------------------------------------------------ aliases

    async def move_alias(
        self,
        tenant_id: str,
        adapter: str,
        alias: Alias,
        version_id: str | None,
        actor: str,
        expected_revision: int | None = None,
        *,
        rolled_back: bool = False,
        guard: Guard | None = None,
    ) -> AliasMove:
        """Point an alias at a version, or at the base model alone (None): alias, history, statuses and the
        audit log in one.

        Moving `stable` makes the version stable and the one it leaves retired, or rolled back when `rolled_back`.
        Raises UnknownAdapter, UnknownVersion, ArtifactMissing for a version that was pruned, IllegalTransition, and
        ConflictError when the alias's revision is not `expected_revision`, somebody else moved it at the same time, or
        the guard says so.
        """
        async with self._engine.begin() as connection:
            change = await changes.append(connection, tenant_id)
            if await find_adapter(connection, tenant_id, adapter) is None:
                raise UnknownAdapter(tenant_id, adapter)
            if guard is not None:
                await guard(connection)
            version = None
            if version_id is not None:
                version = await require_member(connection, tenant_id, adapter, version_id)
                if version.pruned_at is not None:
                    raise ArtifactMissing(version.artifact_digest)
            previous_id, revision = await read_alias(connection, tenant_id, adapter, alias)
            if expected_revision is not None and expected_revision != revision:
                raise ConflictError(f"alias {alias} is at revision {revision}, not {expected_revision}")
            await point_alias(connection, tenant_id, adapter, alias, version_id, revision)
            if alias is Alias.STABLE and previous_id != version_id:
                await pass_on(connection, previous_id, version_id, rolled_back)
            now = datetime.now(UTC)
            move = AliasMove(tenant_id, adapter, alias, version_id, previous_id, actor, now, change)
            await add_history(connection, move)
            await audit.record(connection, acts.moved(move, version, rolled_back))
            if rolled_back and self._rolled_back:
                await self._rolled_back(connection, move)
            return move

    async def alias(self, tenant_id: str, adapter: str, alias: Alias) -> tuple[str | None, int]:
        """What the alias points to, and its revision; an alias never moved is (None, 0)."""
        async with self._engine.connect() as connection:
            return await read_alias(connection, tenant_id, adapter, alias)

    async def alias_history(
        self, tenant_id: str, adapter: str, alias: Alias, limit: int = 100, after: int | None = None
    ) -> list[AliasMove]:
        """A page of moves, newest first, following the move `after`. Their `change` is 0: it matters only to whoever
        waits for a move."""
        table = tables.alias_history
        query = sa.select(table).where(*of(table, tenant_id, adapter), table.c.alias == alias.value)
        if after is not None:
            query = query.where(table.c.id < after)
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query.order_by(table.c.id.desc()).limit(limit))).all()
        return [to_move(row) for row in rows]

    async def alias_at(self, tenant_id: str, adapter: str, alias: Alias, at: datetime) -> AliasMove | None:
        """The move that was in force at a moment (aware of its time zone): what answered then. None: the
        alias had never moved, so that the base model did."""
        table = tables.alias_history
        query = sa.select(table).where(*of(table, tenant_id, adapter), table.c.alias == alias.value)
        query = query.where(table.c.at <= at).order_by(table.c.id.desc()).limit(1)
        async with self._engine.connect() as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else to_move(row)

    async def previous_stable(self, tenant_id: str, adapter: str) -> str | None:
        """What a rollback goes to: one step back along the stable line, past what was pruned; None: the base."""
        table = tables.versions
        gone = sa.select(table.c.id).where(*of(table, tenant_id, adapter), table.c.pruned_at.is_not(None))
        async with self._engine.connect() as connection:
            line = stable_line(await stable_moves(connection, tenant_id, adapter))
            pruned = set((await connection.execute(gone)).scalars())
        return next((name for name in reversed(line[:-1]) if name not in pruned), None)

    # ------------------------------------------------------------------------------------ what to serve

    async def routes(self, tenant_id: str) -> list[AdapterRoutes]:
        """The routes of one tenant's adapters."""
        async with self._engine.connect() as connection:
            return await read_routes(connection, [tenant_id])

    async def is_wanted(self, version_id: str) -> bool:
        """Whether a version belongs into the engines."""
        async with self._engine.connect() as connection:
            return await is_wanted(connection, version_id)

    async def position(self) -> int:
        """The newest position of the change log."""
        async with self._engine.connect() as connection:
            return await changes.latest(connection)
