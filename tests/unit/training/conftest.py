"""A database of this package's tables, on disk as in production."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.database import connect
from adapters.tables import metadata as adapters
from training.tables import metadata


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    engine = connect(f"sqlite+aiosqlite:///{tmp_path}/training.db")
    async with engine.begin() as connection:
        for each in (metadata, adapters):
            await connection.run_sync(each.create_all)
    yield engine
    await engine.dispose()
