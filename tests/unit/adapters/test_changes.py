from collections.abc import Sequence

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters import changes


async def note(database: AsyncEngine, tenant_id: str) -> int:
    async with database.begin() as connection:
        return await changes.append(connection, tenant_id)


async def test_positions_grow(database: AsyncEngine) -> None:
    first = await note(database, "ten_a")
    assert await note(database, "ten_a") > first


async def test_a_follower_learns_the_tenants_after_its_position(database: AsyncEngine) -> None:
    seen = await note(database, "ten_a")
    await note(database, "ten_b")
    last = await note(database, "ten_b")
    async with database.connect() as connection:
        assert await changes.since(connection, seen) == (last, {"ten_b"})


async def test_a_follower_that_is_up_to_date_stays_where_it_is(database: AsyncEngine) -> None:
    last = await note(database, "ten_a")
    async with database.connect() as connection:
        assert await changes.since(connection, last) == (last, set())


async def test_a_change_that_was_not_committed_is_never_seen(database: AsyncEngine) -> None:
    with pytest.raises(RuntimeError, match="fails"):
        async with database.begin() as connection:
            await changes.append(connection, "ten_a")
            raise RuntimeError("the caller fails")
    async with database.connect() as connection:
        assert await changes.latest(connection) == 0


@pytest.fixture
async def positions(database: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> Sequence[int]:
    """Of seven changes, where three are kept."""
    monkeypatch.setattr(changes, "KEPT", 3)
    return [await note(database, f"ten_{n}") for n in range(7)]


async def test_only_the_newest_changes_are_kept(database: AsyncEngine, positions: Sequence[int]) -> None:
    async with database.begin() as connection:
        assert await changes.prune(connection) == 4
        assert await changes.prune(connection) == 0
        assert await changes.latest(connection) == positions[-1]
        assert await changes.since(connection, positions[3]) == (positions[-1], {"ten_4", "ten_5", "ten_6"})


async def test_a_follower_behind_what_is_kept_is_told_that_anything_may_have_changed(
    database: AsyncEngine, positions: Sequence[int]
) -> None:
    async with database.begin() as connection:
        await changes.prune(connection)
        assert await changes.since(connection, positions[2]) == (positions[-1], None)
