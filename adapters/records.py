"""Single reads and writes of the registry's tables, each inside a transaction of the caller's."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters import tables
from adapters.database import hold
from adapters.errors import ConflictError, UnknownVersion
from adapters.rollout_records import read_splits
from adapters.types import (
    Adapter,
    AdapterRoutes,
    Alias,
    AliasMove,
    Lineage,
    Split,
    Version,
    VersionStatus,
)


async def find_adapter(connection: AsyncConnection, tenant_id: str, name: str) -> Adapter | None:
    table = tables.adapters
    query = sa.select(table).where(table.c.tenant_id == tenant_id, table.c.name == name)
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else to_adapter(row)


async def require_version(connection: AsyncConnection, version_id: str) -> Version:
    query = sa.select(tables.versions).where(tables.versions.c.id == version_id)
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise UnknownVersion(version_id)
    return to_version(row)


async def require_member(
    connection: AsyncConnection, tenant_id: str, adapter: str, version_id: str
) -> Version:
    """The version, if it is this tenant's and this adapter's: another tenant's does not exist here."""
    version = await require_version(connection, version_id)
    if (version.tenant_id, version.adapter) != (tenant_id, adapter):
        raise UnknownVersion(version_id)
    return version


async def with_artifact(
    connection: AsyncConnection, tenant_id: str, adapter: str, digest: str
) -> Version | None:
    """The adapter's newest version of an artifact, but for those whose files were pruned."""
    table = tables.versions
    there = table.c.artifact_digest == digest, table.c.pruned_at.is_(None)
    query = sa.select(table).where(*of(table, tenant_id, adapter), *there)
    row = (await connection.execute(query.order_by(table.c.number.desc()).limit(1))).one_or_none()
    return None if row is None else to_version(row)


async def of_run(connection: AsyncConnection, tenant_id: str, adapter: str, run_id: str) -> Version | None:
    """The version that a run registered."""
    table = tables.versions
    query = sa.select(table).where(*of(table, tenant_id, adapter), table.c.run_id == run_id).limit(1)
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else to_version(row)


async def hold_files(connection: AsyncConnection, digest: str) -> None:
    """Until the transaction ends, nobody else registers a version of an artifact, or deletes its files."""
    await hold(connection, f"files:{digest}")


async def read_alias(
    connection: AsyncConnection, tenant_id: str, adapter: str, alias: Alias
) -> tuple[str | None, int]:
    table = tables.aliases
    query = sa.select(table.c.version_id, table.c.revision)
    query = query.where(*of(table, tenant_id, adapter), table.c.alias == alias.value)
    row = (await connection.execute(query)).one_or_none()
    return (None, 0) if row is None else (row.version_id, row.revision)


async def point_alias(
    connection: AsyncConnection,
    tenant_id: str,
    adapter: str,
    alias: Alias,
    version_id: str | None,
    revision: int,
) -> None:
    """Write the alias if it is still at `revision`; ConflictError otherwise."""
    table = tables.aliases
    moved = ConflictError(f"alias {alias} of adapter {adapter!r} was moved by somebody else")
    if revision:
        update = sa.update(table).where(
            *of(table, tenant_id, adapter), table.c.alias == alias.value, table.c.revision == revision
        )
        result = await connection.execute(update.values(version_id=version_id, revision=revision + 1))
        if not result.rowcount:
            raise moved
        return
    values = {"tenant_id": tenant_id, "adapter": adapter, "alias": alias.value, "version_id": version_id}
    try:
        await connection.execute(sa.insert(table).values(values | {"revision": 1}))
    except IntegrityError as error:
        raise moved from error


async def add_history(connection: AsyncConnection, move: AliasMove) -> None:
    await connection.execute(
        sa.insert(tables.alias_history).values(
            tenant_id=move.tenant_id,
            adapter=move.adapter,
            alias=move.alias.value,
            version_id=move.version_id,
            previous_id=move.previous_id,
            actor=move.actor,
            at=move.at,
        )
    )


async def stable_moves(connection: AsyncConnection, tenant_id: str, adapter: str) -> Sequence[str | None]:
    """Where the stable alias was moved to, oldest first."""
    table = tables.alias_history
    query = sa.select(table.c.version_id).where(*of(table, tenant_id, adapter))
    query = query.where(table.c.alias == Alias.STABLE.value).order_by(table.c.id)
    return (await connection.execute(query)).scalars().all()


async def read_routes(
    connection: AsyncConnection, tenants: Collection[str] | None = None
) -> list[AdapterRoutes]:
    """These tenants' routes, or everybody's. In three reads, because a swap waits for it."""
    adapters, aliases, versions = tables.adapters, tables.aliases.c, tables.versions.c
    named, owned = aliases.adapter == adapters.c.name, aliases.tenant_id == adapters.c.tenant_id
    served = sa.select(tables.bases.c.name).where(tables.bases.c.digest == adapters.c.base_digest)
    query: sa.Select[Any] = sa.select(
        adapters.c.tenant_id,
        adapters.c.name,
        served.scalar_subquery().label("base"),
        aliases.alias,
        aliases.version_id,
    ).select_from(adapters.outerjoin(tables.aliases, owned & named))
    bases: dict[tuple[str, str], str] = {}
    pointers: dict[tuple[str, str], dict[Alias, str | None]] = defaultdict(dict)
    for row in await _of_tenants(connection, query, adapters.c.tenant_id, tenants):
        bases[row.tenant_id, row.name] = row.base or ""
        if row.alias is not None:
            pointers[row.tenant_id, row.name][Alias(row.alias)] = row.version_id
    there = versions.status != VersionStatus.REJECTED.value, versions.pruned_at.is_(None)
    numbered: sa.Select[Any] = sa.select(versions.tenant_id, versions.adapter, versions.number, versions.id)
    servable: dict[tuple[str, str], dict[int, str]] = defaultdict(dict)
    for row in await _of_tenants(connection, numbered.where(*there), versions.tenant_id, tenants):
        servable[row.tenant_id, row.adapter][row.number] = row.id
    splits = await read_splits(connection, tenants)
    return [
        _adapter_routes(place, pointers[place], servable[place], splits.get(place), base)
        for place, base in sorted(bases.items())
    ]


async def _of_tenants(
    connection: AsyncConnection, query: sa.Select[Any], owner: sa.Column[str], tenants: Collection[str] | None
) -> Sequence[sa.Row[Any]]:
    """A query's rows of some tenants, or of all. owner: the table's column of tenant ids."""
    if tenants is not None:
        query = query.where(owner.in_(tenants))
    rows: Sequence[sa.Row[Any]] = (await connection.execute(query)).all()
    return rows


def _adapter_routes(
    place: tuple[str, str],
    pointers: Mapping[Alias, str | None],
    versions: Mapping[int, str],
    split: Split | None,
    base: str,
) -> AdapterRoutes:
    numbers = {version_id: number for number, version_id in versions.items()}
    return AdapterRoutes(*place, pointers, versions, numbers, split, base)


def of(table: sa.Table, tenant_id: str, adapter: str) -> tuple[sa.ColumnElement[bool], ...]:
    return table.c.tenant_id == tenant_id, table.c.adapter == adapter


def to_adapter(row: sa.Row[Any]) -> Adapter:
    return Adapter(row.tenant_id, row.name, row.base_digest, row.created_at)


def to_version(row: sa.Row[Any]) -> Version:
    lineage = Lineage(
        row.base_digest, row.recipe, row.dataset_digest, row.parent_id, row.run_id, row.source, row.actor
    )
    return Version(
        id=row.id,
        tenant_id=row.tenant_id,
        adapter=row.adapter,
        number=row.number,
        artifact_digest=row.artifact_digest,
        lineage=lineage,
        metrics=row.metrics,
        status=VersionStatus(row.status),
        created_at=row.created_at,
        pruned_at=row.pruned_at,
    )


def to_move(row: sa.Row[Any]) -> AliasMove:
    return AliasMove(
        row.tenant_id,
        row.adapter,
        Alias(row.alias),
        row.version_id,
        row.previous_id,
        row.actor,
        row.at,
        change=0,
        id=row.id,
    )
