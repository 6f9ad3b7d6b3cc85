"""The seam between this package's SQL rows and its records: ids, times, inserts that may already be there."""

import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.tables import adapters


def new_id(prefix: str) -> str:
    """An id such as `fb_` and 24 hexadecimal digits."""
    return f"{prefix}_{secrets.token_hex(12)}"


def now() -> datetime:
    return datetime.now(UTC)


def of_another_base(table: sa.Table, base_digest: str) -> sa.ColumnElement[bool]:
    """Whether a row's adapter (columns `tenant_id` and `adapter`) belongs to another base model."""
    return sa.exists().where(
        adapters.c.tenant_id == table.c.tenant_id,
        adapters.c.name == table.c.adapter,
        adapters.c.base_digest != base_digest,
    )


async def insert_absent(
    connection: AsyncConnection, table: sa.Table, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Insert the rows whose key is not there yet; both our databases know the clause, by different names."""
    if not rows:
        return
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    await connection.execute(dialect.insert(table).on_conflict_do_nothing(), [dict(row) for row in rows])
