"""Single reads and writes of the registry's tables, each inside a transaction that `adapters.registry`
opened."""

import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters import tables
from adapters.errors import ConflictError, IllegalTransition, UnknownVersion
from adapters.rollout_records import read_splits
from adapters.rules import TRANSITIONS
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


async def change_status(connection: AsyncConnection, version_id: str, status: VersionStatus) -> None:
    """The legal sources are part of the statement, so that two writers cannot both leave one status."""
    sources = [source.value for source, targets in TRANSITIONS.items() if status in targets]
    table = tables.versions
    update = sa.update(table).where(table.c.id == version_id, table.c.status.in_(sources))
    if (await connection.execute(update.values(status=status.value))).rowcount:
        return
    current = (await require_version(connection, version_id)).status
    if current is not status:
        raise IllegalTransition(version_id, current, status)


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


async def pass_on(
    connection: AsyncConnection, previous_id: str | None, version_id: str | None, rolled_back: bool
) -> None:
    if previous_id is not None:
        left = VersionStatus.ROLLED_BACK if rolled_back else VersionStatus.RETIRED
        await change_status(connection, previous_id, left)
    if version_id is not None:
        await change_status(connection, version_id, VersionStatus.STABLE)


async def add_history(connection: AsyncConnection, move: AliasMove) -> AliasMove:
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
    return move


async def read_routes(connection: AsyncConnection, tenant_id: str | None) -> list[AdapterRoutes]:
    """One tenant's routes, or everybody's: a read of each thing that a route needs, joined here."""
    adapters, aliases, versions = tables.adapters.c, tables.aliases.c, tables.versions.c
    served = sa.select(tables.bases.c.name).where(tables.bases.c.digest == adapters.base_digest)
    base = served.scalar_subquery().label("base")
    owners = await _read(connection, tenant_id, adapters.tenant_id, adapters.name, base)
    pointers: dict[tuple[str, str], dict[Alias, str | None]] = {}
    columns = aliases.tenant_id, aliases.adapter, aliases.alias, aliases.version_id
    for row in await _read(connection, tenant_id, *columns):
        pointers.setdefault((row.tenant_id, row.adapter), {})[Alias(row.alias)] = row.version_id
    servable: dict[tuple[str, str], dict[int, str]] = {}
    columns = versions.tenant_id, versions.adapter, versions.number, versions.id
    there = versions.status != VersionStatus.REJECTED.value, versions.pruned_at.is_(None)
    for row in await _read(connection, tenant_id, *columns, where=there):
        servable.setdefault((row.tenant_id, row.adapter), {})[row.number] = row.id
    splits = await read_splits(connection, tenant_id)
    return [
        _adapter_routes(row.tenant_id, row.name, pointers, servable, splits, row.base or "")
        for row in sorted(owners, key=lambda row: (row.tenant_id, row.name))
    ]


async def _read(
    connection: AsyncConnection,
    tenant_id: str | None,
    owner: sa.Column[str],
    *columns: sa.ColumnElement[Any],
    where: Sequence[sa.ColumnElement[bool]] = (),
) -> Sequence[sa.Row[Any]]:
    """Rows of one tenant, or of all. owner: the table's column of tenant ids."""
    query = sa.select(owner, *columns).where(*where)
    if tenant_id is not None:
        query = query.where(owner == tenant_id)
    return (await connection.execute(query)).all()


def _adapter_routes(
    tenant_id: str,
    name: str,
    pointers: Mapping[tuple[str, str], Mapping[Alias, str | None]],
    servable: Mapping[tuple[str, str], Mapping[int, str]],
    splits: Mapping[tuple[str, str], Split],
    base: str,
) -> AdapterRoutes:
    place = tenant_id, name
    versions = servable.get(place, {})
    numbers = {version_id: number for number, version_id in versions.items()}
    return AdapterRoutes(tenant_id, name, pointers.get(place, {}), versions, numbers, splits.get(place), base)


def of(table: sa.Table, tenant_id: str, adapter: str) -> tuple[sa.ColumnElement[bool], ...]:
    return table.c.tenant_id == tenant_id, table.c.adapter == adapter


def new_version(
    tenant_id: str,
    adapter: str,
    artifact_digest: str,
    lineage: Lineage,
    metrics: Mapping[str, Any],
    status: VersionStatus,
) -> Mapping[str, Any]:
    """The row of a version that gets the next number when it is inserted."""
    return {
        "id": f"ver_{secrets.token_hex(12)}",
        "tenant_id": tenant_id,
        "adapter": adapter,
        "number": _next_number(tenant_id, adapter),
        "artifact_digest": artifact_digest,
        "base_digest": lineage.base_digest,
        "recipe": dict(lineage.recipe),
        "dataset_digest": lineage.dataset_digest,
        "parent_id": lineage.parent_id,
        "run_id": lineage.run_id,
        "source": lineage.source,
        "actor": lineage.actor,
        "metrics": dict(metrics),
        "status": status.value,
        "created_at": datetime.now(UTC),
    }


def _next_number(tenant_id: str, adapter: str) -> sa.ScalarSelect[int]:
    table = tables.versions
    newest = sa.select(sa.func.coalesce(sa.func.max(table.c.number), 0) + 1)
    return newest.where(*of(table, tenant_id, adapter)).scalar_subquery()


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
    )
