"""The one way our processes open the record, and what its columns hold that SQL has no word for."""

from datetime import UTC, datetime
from importlib import import_module
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

POSTGRES = "adapters.postgres"
"""Loads the driver, which takes a tenth of a second."""
Integer64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""SQLite's INTEGER has 64 bits anyway, and counts rows only by that name."""


class Moment(sa.TypeDecorator[datetime]):
    """A moment, aware and in UTC. SQLite stores the clock's face and forgets the zone."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: sa.Dialect) -> datetime | None:
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, _dialect: sa.Dialect) -> datetime | None:
        return value and (value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC))


def older(made: sa.Column[datetime], name: sa.Column[str], at: datetime, row: str) -> sa.ColumnElement[bool]:
    """Rows that follow one (of that moment and name) in a list that shows the newest first, equal moments by name."""
    return sa.tuple_(made, name) < sa.tuple_(sa.literal(at, made.type), row)


async def hold(connection: AsyncConnection, lock: int | str) -> None:
    """Until the transaction ends, nobody else holds this lock: PostgreSQL's advisory one, by its key or of this name.
    SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        key = lock if isinstance(lock, int) else sa.func.hashtextextended(lock, 0)
        await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))


def connect(url: str) -> AsyncEngine:
    """An engine for SQLite or PostgreSQL.

    SQLite gets a write-ahead log, so that readers never wait for the writer; `synchronous=FULL`, because what
    was acknowledged must survive a power cut. PostgreSQL's connections are looked at before each use: one that a
    restart, or a firewall, has cut fails nobody.
    """
    if make_url(url).get_backend_name() == "sqlite":
        engine = create_async_engine(url)
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    else:
        postgres = import_module(POSTGRES)
        engine = create_async_engine(url, pool_pre_ping=True, json_serializer=postgres.to_json)
        event.listen(engine.sync_engine, "connect", postgres.prepare)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
