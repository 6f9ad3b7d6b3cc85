"""The one way our processes open the record, and what its columns hold that SQL has no word for."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
"""As JSON writes it: behind an even number of backslashes, each pair of which is one in the text."""
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
    sqlite = make_url(url).get_backend_name() == "sqlite"
    engine = create_async_engine(url, pool_pre_ping=not sqlite, json_serializer=_json)
    event.listen(engine.sync_engine, "connect", _prepare_sqlite if sqlite else _prepare_postgres)
    event.listen(engine.sync_engine, "before_cursor_execute", _storable, retval=True)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _prepare_postgres(connection: Any, _record: Any) -> None:
    """In UTC, because a moment late in the year 9999 cannot be read in a zone east of it."""
    cursor = connection.cursor()
    cursor.execute("SET TIME ZONE 'UTC'")
    cursor.close()
    connection.commit()


def _storable(
    _connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool
) -> tuple[str, Any]:
    """No text of PostgreSQL's has a NUL, and nobody's half a surrogate pair: both come from clients and models, and
    would stop whoever writes them, or asks for them, with a failure of the database."""
    return statement, [_clean(row) for row in parameters] if many else _clean(parameters)


def as_stored(document: Any) -> Any:
    """A JSON document as the record gives it back."""
    return json.loads(_json(document))


def _json(value: Any) -> str:
    """PostgreSQL stores JSON with a NUL or half a surrogate pair in it, and then fails on whoever looks for a field of
    it. NaN and infinity are no JSON: they become null."""
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
    except ValueError:
        told = json.loads(json.dumps(value), parse_constant=lambda _: None)
        text = json.dumps(told, ensure_ascii=False)
    text = text.encode(errors="replace").decode()
    return _NUL.sub(r"\1\\ufffd", text) if "\\u0000" in text else text


def _clean(row: Any) -> Any:
    if isinstance(row, Mapping):
        return {name: _clean_text(value) for name, value in row.items()}
    return tuple(_clean_text(value) for value in row)


def _clean_text(value: Any) -> Any:
    if not isinstance(value, str) or (value.isascii() and "\0" not in value):
        return value
    return value.replace("\0", "\ufffd").encode(errors="replace").decode()
