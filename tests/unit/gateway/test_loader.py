"""A worker's snapshot follows the record, however far it fell behind."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters import changes
from gateway.keys import ALL_SCOPES
from gateway.loader import SnapshotLoader
from gateway.tenants import TenantStore

EVERYTHING = sorted(ALL_SCOPES)


async def test_one_that_fell_behind_what_the_log_keeps_still_sees_every_write(
    database: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "KEPT", 1)
    store, loader = TenantStore(database), SnapshotLoader(database, "secret")
    first, _, _ = await store.upsert("acme", "Acme", "test")
    issued = await store.create_key(first.id, "k", EVERYTHING, "test")
    behind = await loader.load()
    await store.revoke_key(first.id, issued.key.id, "test")
    second, _, _ = await store.upsert("globex", "Globex", "test")
    async with database.begin() as connection:
        assert await changes.prune(connection) > 0
    fresh = await loader.follow(behind)
    assert set(fresh.tenants) == {first.id, second.id}
    assert fresh.keys == {}
    assert await loader.follow(fresh) is fresh
