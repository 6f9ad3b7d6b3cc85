"""What a version is, where aliases pointed and who did what: the database lets nobody rewrite it."""

from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters import audit, tables
from adapters.registry import Registry
from adapters.types import Alias, VersionStatus
from tests.unit.adapters.conftest import MakeVersion

ACME = ("ten_acme", "default")
CHANGES = {"status", "pruned_at", "swept_at"}
"""What may become of a version."""


async def refused(database: AsyncEngine, statement: Any) -> None:
    with pytest.raises(DBAPIError, match="stays as it was written"):
        async with database.begin() as connection:
            await connection.execute(statement)


async def test_of_a_version_only_its_status_and_the_end_of_its_files_change(
    database: AsyncEngine, registry: Registry, make_version: MakeVersion
) -> None:
    version, table = await make_version(), tables.versions
    for column in table.c:
        if column.name not in CHANGES:
            await refused(database, sa.update(table).values({column.name: column}))
    await refused(database, sa.delete(table))
    assert await registry.version(version.id) == version
    async with database.begin() as connection:
        now = datetime.now(UTC)
        await connection.execute(sa.update(table).values(status="retired", pruned_at=now, swept_at=now))


@pytest.mark.parametrize("table", [tables.alias_history, tables.audit], ids=lambda table: table.name)
async def test_history_and_audit_only_grow(
    database: AsyncEngine, registry: Registry, make_version: MakeVersion, table: sa.Table
) -> None:
    version = await make_version(VersionStatus.APPROVED)
    await registry.move_alias(*ACME, Alias.STABLE, version.id, "ada")
    history, entries = await registry.alias_history(*ACME, Alias.STABLE), await audit.entries(database)
    for column in table.c:
        await refused(database, sa.update(table).values({column.name: column}))
    await refused(database, sa.delete(table))
    assert await registry.alias_history(*ACME, Alias.STABLE) == history
    assert await audit.entries(database) == entries
