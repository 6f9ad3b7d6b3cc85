"""The seam to SQL: engines, moments with their zone, rows put in place, vectors as bytes."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy import event, make_url
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
"""As JSON writes it: behind an even number of backslashes, each pair of which is one in the text."""


class Moment(sa.TypeDecorator[datetime]):
    """A moment, aware and in UTC. SQLite stores the clock's face and forgets the zone."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: sa.Dialect) -> datetime | None:
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, _dialect: sa.Dialect) -> datetime | None:
        return value and (value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC))


def open_engine(url: str) -> AsyncEngine:
    """An engine for the URL. SQLite is put into WAL mode, so that readers and the writer do not wait. PostgreSQL's
    connections are looked at before each use."""
    sqlite = make_url(url).get_backend_name() == "sqlite"
    engine = create_async_engine(url, pool_pre_ping=not sqlite, json_serializer=_json)
    if sqlite:
        event.listen(engine.sync_engine, "connect", _write_ahead)
    event.listen(engine.sync_engine, "before_cursor_execute", _storable, retval=True)
    return engine


def _write_ahead(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.close()


def _storable(
    _connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool
) -> tuple[str, Any]:
    """No text of PostgreSQL's has a NUL, and nobody's half a surrogate pair: both come from clients and models, and
    would stop whoever writes them, or asks for them, with a failure of the database."""
    return statement, [_clean(row) for row in parameters] if many else _clean(parameters)


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


async def put_row(
    connection: AsyncConnection, table: sa.Table, key: Mapping[str, Any], values: Mapping[str, Any]
) -> None:
    """Update the row of this key, or insert it. Writers of one row wait for each other until the transaction ends."""
    update = sa.update(table).filter_by(**key).values(**values)
    if (await connection.execute(update)).rowcount:
        return
    try:
        async with connection.begin_nested():
            await connection.execute(sa.insert(table).values({**key, **values}))
    except IntegrityError:  # another writer was first
        await connection.execute(update)


def to_bytes(vector: NDArray[np.float32]) -> bytes:
    return np.ascontiguousarray(vector, "<f4").tobytes()


def to_vector(stored: bytes) -> NDArray[np.float32]:
    return np.frombuffer(stored, "<f4").astype(np.float32)
