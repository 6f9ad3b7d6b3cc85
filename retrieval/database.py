"""The seam to SQL: engines, vectors as bytes, moments with their zone."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from psycopg.adapt import Dumper
from sqlalchemy import event, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine


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
    if make_url(url).get_backend_name() == "sqlite":
        engine = create_async_engine(url)
        event.listen(engine.sync_engine, "connect", _write_ahead)
    else:
        engine = create_async_engine(url, pool_pre_ping=True)
        event.listen(engine.sync_engine, "connect", _take_any_text)
    return engine


def _write_ahead(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.close()


class _Text(Dumper):
    """PostgreSQL's texts have no U+0000 and no halves of surrogate pairs, which a document may hold."""

    def dump(self, value: str) -> bytes:
        return value.replace("\0", "\ufffd").encode("utf-8", "replace")


def _take_any_text(connection: Any, _record: Any) -> None:
    connection.driver_connection.adapters.register_dumper(str, _Text)


def to_bytes(vector: NDArray[np.float32]) -> bytes:
    return np.ascontiguousarray(vector, "<f4").tobytes()


def to_vector(stored: bytes) -> NDArray[np.float32]:
    return np.frombuffer(stored, "<f4").astype(np.float32)
