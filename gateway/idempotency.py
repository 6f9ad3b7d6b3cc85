"""A write that a client repeats with the same `Idempotency-Key` happens once; the repetition gets the first answer."""

import hashlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.errors import Conflict, InvalidRequest, KeyReused, Unavailable
from gateway.tables import writes

log = logging.getLogger(__name__)

MAX_KEY = 256
KEPT_FOR = timedelta(days=1)
UNFINISHED_FOR = timedelta(minutes=10)
"""After that a write without an answer is taken for one whose worker died."""
HEADER = "Idempotency-Key"


@dataclass(frozen=True)
class Written:
    """What a write was answered with."""

    status: int
    content_type: str
    body: bytes


def checked_key(key: str | None) -> str | None:
    """Raises InvalidRequest."""
    if key is not None and not 1 <= len(key) <= MAX_KEY:
        raise InvalidRequest(f"{HEADER} has 1 to {MAX_KEY} characters.", param=HEADER)
    return key


class Writes:
    """The record of writes that named a key. Keys of different tenants have nothing to do with each other."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def once(
        self, tenant_id: str, key: str, request: bytes, act: Callable[[], Awaitable[Written]]
    ) -> Written:
        """The answer of `act`, or of the same request before. request: what must be the same.

        Raises KeyReused for another request, Conflict while the first is running, Unavailable without the record, and
        what `act` raises. An answer of 500 and above is not kept: trying again is the right thing then.
        """
        digest = hashlib.sha256(request).hexdigest()
        try:
            earlier = await self._claim(tenant_id, key, digest)
        except SQLAlchemyError as error:
            raise Unavailable("Writes cannot be recorded right now.", retry_after_s=1.0) from error
        if earlier is not None:
            return earlier
        written: Written | None = None
        try:
            written = await act()
        finally:
            await self._settle(tenant_id, key, written if written and written.status < 500 else None)
        return written

    async def prune(self) -> int:
        """Delete what has expired; returns how many."""
        async with self._engine.begin() as connection:
            expired = sa.delete(writes).where(writes.c.expires_at <= datetime.now(UTC))
            return (await connection.execute(expired)).rowcount

    async def _claim(self, tenant_id: str, key: str, digest: str) -> Written | None:
        """None: the write is ours to do."""
        now = datetime.now(UTC)
        row = {"tenant_id": tenant_id, "key": key, "digest": digest, "expires_at": now + UNFINISHED_FOR}
        mine = _mine(tenant_id, key)
        try:
            async with self._engine.begin() as connection:
                await connection.execute(sa.delete(writes).where(mine, writes.c.expires_at <= now))
                await connection.execute(sa.insert(writes).values(**row))
            return None
        except IntegrityError:
            async with self._engine.connect() as connection:
                found = (await connection.execute(sa.select(writes).where(mine))).one_or_none()
        if found is None or found.digest != digest:
            raise KeyReused(f"This {HEADER} was used for another request.", param=HEADER)
        if found.status is None:
            raise Conflict(f"The first request with this {HEADER} is still running.", retry_after_s=1.0)
        return Written(found.status, found.content_type, found.body)

    async def _settle(self, tenant_id: str, key: str, written: Written | None) -> None:
        """None: as if it had never been asked for."""
        mine = _mine(tenant_id, key)
        statement: sa.Delete | sa.Update = sa.delete(writes).where(mine)
        if written is not None:
            values = {"status": written.status, "content_type": written.content_type, "body": written.body}
            expires_at = datetime.now(UTC) + KEPT_FOR
            statement = sa.update(writes).where(mine).values(**values, expires_at=expires_at)
        try:
            async with self._engine.begin() as connection:
                await connection.execute(statement)
        except SQLAlchemyError as error:
            log.error("the answer of a write was not kept: %s", type(error).__name__)


def _mine(tenant_id: str, key: str) -> sa.ColumnElement[bool]:
    return sa.and_(writes.c.tenant_id == tenant_id, writes.c.key == key)
