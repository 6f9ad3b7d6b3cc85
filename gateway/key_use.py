"""When each key was last used: noted in memory on a request's path, written to the record now and then."""

import asyncio
import logging
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.database import Moment
from adapters.tasks import end
from gateway.tables import keys

log = logging.getLogger(__name__)

WRITE_EVERY_S = 15.0


class KeyUse:
    """One worker's notes. What cannot be written is kept for the next time: at most one moment per key."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._used: dict[str, datetime] = {}
        self._task: asyncio.Task[None] | None = None

    def note(self, key_id: str, at: datetime) -> None:
        self._used[key_id] = at

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="key-use")

    async def close(self) -> None:
        if self._task:
            await end(self._task)
        await self.write()

    async def write(self) -> None:
        """Another worker may have seen the key later: a later moment stays."""
        used, self._used = self._used, {}
        if not used:
            return
        moment = sa.bindparam("at", type_=Moment)
        older = sa.or_(keys.c.last_used_at.is_(None), keys.c.last_used_at < moment)
        statement = sa.update(keys).where(keys.c.id == sa.bindparam("key"), older).values(last_used_at=moment)
        rows = [{"key": key_id, "at": at} for key_id, at in used.items()]
        try:
            async with self._engine.begin() as connection:
                await connection.execute(statement, rows)
        except (SQLAlchemyError, OSError) as error:
            log.warning("the last use of %s keys is not written yet: %s", len(used), type(error).__name__)
            self._used = {**used, **self._used}

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            await self.write()
