"""A worker's snapshot follows the record, however far it fell behind."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters import changes
from adapters.database import connect
from adapters.tables import metadata as adapters
from gateway.keys import ALL_SCOPES
from gateway.loader import SnapshotLoader
from gateway.tables import metadata as gateway
from gateway.tenants import TenantStore
from training.tables import metadata as training

EVERYTHING = sorted(ALL_SCOPES)


@pytest.fixture
async def sql(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    engine = connect(f"sqlite+aiosqlite:///{tmp_path / 'graft.db'}")
    async with engine.begin() as connection:
        for metadata in (gateway, adapters, training):
            await connection.run_sync(metadata.create_all)
    yield engine
    await engine.dispose()


async def test_one_that_fell_behind_what_the_log_keeps_still_sees_every_write(
    sql: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "KEPT", 1)
    store, loader = TenantStore(sql), SnapshotLoader(sql, "secret")
    first, _, _ = await store.upsert("acme", "Acme", "test")
    issued = await store.create_key(first.id, "k", EVERYTHING, "test")
    behind = await loader.load()
    await store.revoke_key(first.id, issued.key.id, "test")
    second, _, _ = await store.upsert("globex", "Globex", "test")
    async with sql.begin() as connection:
        assert await changes.prune(connection) > 0
    fresh = await loader.follow(behind)
    assert set(fresh.tenants) == {first.id, second.id}
    assert fresh.keys == {}
    assert await loader.follow(fresh) is fresh
