"""What is pinned, in the record and in each replica."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.reconcile import Reconciler, Repair
from adapters.testing import FakeEngine
from adapters.types import Version
from adapters.wants import Wants
from tests.unit.adapters.conftest import MakeStable


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


async def test_a_pinned_version_is_held_whatever_others_are_asked_for(
    reconciler: Reconciler, database: AsyncEngine, engines: list[FakeEngine], many: list[Version]
) -> None:
    await Wants(database).pin(many[0].id, "ada")
    await reconciler.run_once(asked={version.id: 50.0 for version in many[1:]})
    assert all(many[0].id in engine.loaded for engine in engines)


def pin_calls(engine: FakeEngine) -> list[tuple[str, str]]:
    return [call for call in engine.calls if call[0] in ("pin", "unpin")]


async def test_what_is_pinned_is_pinned_in_each_replica_that_holds_it_once(
    reconciler: Reconciler, database: AsyncEngine, engines: list[FakeEngine], make_stable: MakeStable
) -> None:
    version = await make_stable()
    await reconciler.run_once()
    await Wants(database).pin(version.id, "ada")
    repairs = await reconciler.run_once()
    assert repairs.pinned == [Repair(engine.url, version.id) for engine in engines]
    assert not await reconciler.run_once()
    assert [pin_calls(engine) for engine in engines] == [[("pin", version.id)]] * 2


async def test_what_is_not_pinned_any_more_is_let_go_once(
    reconciler: Reconciler, database: AsyncEngine, engines: list[FakeEngine], make_stable: MakeStable
) -> None:
    version = await make_stable()
    await Wants(database).pin(version.id, "ada")
    await reconciler.run_once()
    await Wants(database).unpin(version.id, "ada")
    assert (await reconciler.run_once()).unpinned == [Repair(engine.url, version.id) for engine in engines]
    assert not await reconciler.run_once()
    assert [engine.pins for engine in engines] == [set()] * 2


async def test_a_restarted_replica_gets_its_pins_back(
    reconciler: Reconciler, database: AsyncEngine, engines: list[FakeEngine], make_stable: MakeStable
) -> None:
    """Also one that was asked for the version, and so holds it, before anybody looked."""
    version = await make_stable()
    await Wants(database).pin(version.id, "ada")
    await reconciler.run_once()
    for engine in engines:
        path = engine.loaded[version.id]
        engine.restart()
    await engines[1].load(version.id, path)
    repairs = await reconciler.run_once()
    assert repairs.loaded == [Repair("fake://one", version.id)]
    assert repairs.pinned == [Repair(engine.url, version.id) for engine in engines]


async def test_a_replica_that_cannot_pin_is_served_without(
    reconciler: Reconciler, database: AsyncEngine, engines: list[FakeEngine], make_stable: MakeStable
) -> None:
    version = await make_stable()
    engines[0].pins = None
    await Wants(database).pin(version.id, "ada")
    repairs = await reconciler.run_once()
    assert (repairs.pinned, repairs.failed) == ([Repair("fake://two", version.id)], [])
    assert version.id in engines[0].loaded


async def test_more_pins_than_a_replica_takes_are_reported_until_there_is_room(
    reconciler: Reconciler, database: AsyncEngine, engines: list[FakeEngine], many: list[Version]
) -> None:
    wants = Wants(database)
    for engine in engines:
        engine.most_pins = 1
    for version in many[:2]:
        await wants.pin(version.id, "ada")
    for _ in range(2):
        repairs = await reconciler.run_once()
        assert [repair.engine for repair in repairs.failed] == [engine.url for engine in engines]
    assert {"too many" in str(repair.error) for repair in repairs.failed} == {True}
    kept, refused = sorted(version.id for version in many[:2])
    assert [engine.pins for engine in engines] == [{kept}] * 2
    await wants.unpin(kept, "ada")
    assert (await reconciler.run_once()).failed == []
    assert [engine.pins for engine in engines] == [{refused}] * 2
