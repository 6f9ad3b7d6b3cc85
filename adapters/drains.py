"""Replicas that shall get no new work, so that they can be ended without a request noticing."""

import contextlib
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters import audit
from adapters.audit import Act
from adapters.tables import drains as table


class Drains:
    """Over the record. A drain outlives its replica's restart: it lasts until somebody ends it."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def begin(self, url: str, actor: str) -> None:
        """One that is drained already stays as it is."""
        begun = sa.insert(table).values(url=url, actor=actor, at=datetime.now(UTC))
        with contextlib.suppress(IntegrityError):
            async with self._engine.begin() as connection:
                await connection.execute(begun)
                await audit.record(connection, Act(actor, "replica.drained", url))

    async def end(self, url: str, actor: str) -> None:
        """One that is not drained stays so."""
        async with self._engine.begin() as connection:
            if (await connection.execute(sa.delete(table).where(table.c.url == url))).rowcount:
                await audit.record(connection, Act(actor, "replica.returned", url))

    async def urls(self) -> frozenset[str]:
        """Of all that are drained."""
        async with self._engine.connect() as connection:
            return frozenset((await connection.execute(sa.select(table.c.url))).scalars())
