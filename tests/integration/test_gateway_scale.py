"""A thousand tenants with three versions each: what must not grow with their number."""

import time
from pathlib import Path

import sqlalchemy as sa

from adapters.database import connect
from adapters.registry import Registry
from adapters.types import Alias
from gateway.loader import SnapshotLoader
from tests.bench.house import furnish
from tests.bench.scale import lookups

TENANTS = 1000


async def test_a_swap_among_a_thousand_tenants_reads_and_replaces_one(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/graft.db?timeout=30"
    keys = await furnish(url, TENANTS, versions=3)
    record = connect(url)
    try:
        registry = Registry(record)
        loader = SnapshotLoader(record, "secret")
        started = time.monotonic()
        before = await loader.load()
        assert time.monotonic() - started < 5.0
        assert (len(before.tenants), len(before.keys)) == (TENANTS, TENANTS)
        assert len({id(view.policy) for view in before.tenants.values()}) == 1
        assert lookups(before, keys) < 0.001

        chosen = list(before.tenants.values())[500]
        to = chosen.adapters["default"].versions[2]
        await registry.move_alias(chosen.id, "default", Alias.STABLE, to, "test")
        rows = 0

        @sa.event.listens_for(record.sync_engine, "after_cursor_execute")
        def count(connection, cursor, statement, parameters, context, many) -> None:
            nonlocal rows
            rows += TENANTS if "WHERE" not in statement and "FROM bases" not in statement else 1

        after = await loader.follow(before)
        assert rows < 10
    finally:
        await record.dispose()
    assert after.tenants[chosen.id].adapters["default"].aliases[Alias.STABLE] == to
    assert after.tenant_named(chosen.external_id) is after.tenants[chosen.id]
    changed = [name for name, view in after.tenants.items() if before.tenants[name] is not view]
    assert changed == [chosen.id]
    assert before.tenants[chosen.id] is chosen
