import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest

from adapters.engine import Holding
from adapters.holds import Holds
from adapters.reconcile import Reconciler, Repair
from adapters.registry import Registry
from adapters.tasks import InTurn
from adapters.testing import FakeEngine, FakeWorkers
from adapters.types import Alias, Version, VersionStatus
from tests.unit.adapters.conftest import MakeStable, MakeVersion

APPROVED = VersionStatus.APPROVED


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


async def test_what_an_alias_points_to_is_loaded_everywhere(
    reconciler: Reconciler, engines: list[FakeEngine], make_stable: MakeStable
) -> None:
    version = await make_stable()
    repairs = await reconciler.run_once()
    assert repairs.loaded == [Repair(engine.url, version.id) for engine in engines]
    assert all(version.id in engine.loaded for engine in engines)


async def test_a_second_pass_has_nothing_to_do(reconciler: Reconciler, make_stable: MakeStable) -> None:
    await make_stable()
    await reconciler.run_once()
    assert not await reconciler.run_once()


async def test_a_restarted_replica_gets_its_versions_back(
    reconciler: Reconciler, engines: list[FakeEngine], make_stable: MakeStable
) -> None:
    version = await make_stable()
    await reconciler.run_once()
    engines[1].restart()
    assert (await reconciler.run_once()).loaded == [Repair("fake://two", version.id)]


async def test_a_version_that_a_replica_holds_and_does_not_serve_is_loaded_again_once(
    reconciler: Reconciler, engines: list[FakeEngine], make_stable: MakeStable
) -> None:
    version = await make_stable()
    await reconciler.run_once()
    engines[1].unserved.add(version.id)
    assert (await reconciler.run_once()).loaded == [Repair("fake://two", version.id)]
    assert not await reconciler.run_once()


async def test_a_version_that_cannot_be_loaded_again_is_not_said_to_be_served(
    reconciler: Reconciler, engines: list[FakeEngine], make_stable: MakeStable
) -> None:
    version = await make_stable()
    await reconciler.run_once()
    engines[1].unserved.add(version.id)
    engines[1].refused.add(version.id)
    repairs = await reconciler.run_once()
    assert [(each.engine, each.version_id) for each in repairs.failed] == [("fake://two", version.id)]
    assert repairs.residency == {"fake://one": {version.id}, "fake://two": set()}


async def test_a_replica_that_is_down_is_left_alone(
    reconciler: Reconciler, engines: list[FakeEngine], make_stable: MakeStable
) -> None:
    version = await make_stable()
    engines[0].down = True
    assert (await reconciler.run_once()).loaded == [Repair("fake://two", version.id)]


async def test_what_nothing_wants_is_unloaded(
    reconciler: Reconciler, registry: Registry, engines: list[FakeEngine], make_stable: MakeStable
) -> None:
    version = await make_stable()
    await reconciler.run_once()
    await registry.move_alias("ten_acme", "default", Alias.STABLE, None, "ada", rolled_back=True)
    assert len((await reconciler.run_once()).unloaded) == 2
    assert not any(engine.loaded for engine in engines)
    assert version.id not in engines[0].loaded


async def test_what_the_record_never_heard_of_is_unloaded(
    reconciler: Reconciler, engines: list[FakeEngine], tmp_path: Path
) -> None:
    await engines[0].load("ver_stray", tmp_path)
    assert (await reconciler.run_once()).unloaded == [Repair("fake://one", "ver_stray")]


async def test_a_version_with_requests_in_flight_is_not_unloaded(
    reconciler: Reconciler, engines: list[FakeEngine], workers: FakeWorkers, tmp_path: Path
) -> None:
    await engines[0].load("ver_left", tmp_path)
    workers.held["ver_left"] = 1
    assert not await reconciler.run_once()


async def test_nothing_is_unloaded_while_a_worker_serves_an_older_record(
    reconciler: Reconciler,
    engines: list[FakeEngine],
    workers: FakeWorkers,
    make_version: MakeVersion,
    tmp_path: Path,
) -> None:
    await make_version()
    workers.applied = [0, 1_000_000]
    await engines[0].load("ver_left", tmp_path)
    assert not await reconciler.run_once()


async def test_nothing_is_unloaded_while_nobody_can_see_the_workers(
    reconciler: Reconciler, engines: list[FakeEngine], workers: FakeWorkers, tmp_path: Path
) -> None:
    await engines[0].load("ver_left", tmp_path)
    workers.unseen = True
    assert not await reconciler.run_once()


async def test_a_held_version_is_not_unloaded(
    reconciler: Reconciler, engines: list[FakeEngine], holds: Holds, tmp_path: Path
) -> None:
    await engines[0].load("ver_coming", tmp_path)
    with holds.hold("ver_coming"):
        assert not await reconciler.run_once()
    assert len((await reconciler.run_once()).unloaded) == 1


@pytest.mark.parametrize("status", [VersionStatus.GATING, APPROVED])
async def test_a_version_on_its_way_is_loaded(
    reconciler: Reconciler, engines: list[FakeEngine], make_version: MakeVersion, status: VersionStatus
) -> None:
    version = await make_version(status)
    await reconciler.run_once()
    assert set(engines[0].loaded) == {version.id}


async def test_a_version_that_cannot_be_loaded_is_reported_and_the_rest_goes_on(
    reconciler: Reconciler,
    engines: list[FakeEngine],
    make_version: MakeVersion,
    make_stable: MakeStable,
) -> None:
    bad, good = await make_version(VersionStatus.GATING), await make_stable()
    for engine in engines:
        engine.refused.add(bad.id)
    repairs = await reconciler.run_once()
    assert {repair.version_id for repair in repairs.failed} == {bad.id}
    assert {repair.version_id for repair in repairs.loaded} == {good.id}


async def test_what_was_needed_while_a_pass_went_on_survives_it(
    reconciler: Reconciler,
    engines: list[FakeEngine],
    workers: FakeWorkers,
    holds: Holds,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The record may want it since the pass has read that."""
    engines[0].loaded = {"ver_old": Path("/old"), "ver_tested": Path("/tested")}
    ask = workers.leases

    async def leases() -> Mapping[str, int]:
        with holds.hold("ver_tested"):
            return await ask()

    monkeypatch.setattr(workers, "leases", leases)
    await reconciler.run_once()
    assert engines[0].loaded.keys() == {"ver_tested"}
    monkeypatch.undo()
    await reconciler.run_once()
    assert not engines[0].loaded


async def test_no_replica_holds_more_than_it_has_room_for(
    reconciler: Reconciler, engines: list[FakeEngine], many: list[Version]
) -> None:
    await reconciler.run_once()
    assert [len(engine.loaded) for engine in engines] == [3, 3]
    assert len(set(engines[0].loaded) | set(engines[1].loaded)) == 6
    assert not await reconciler.run_once()


async def test_a_replica_that_holds_too_much_gives_old_versions_to_one_with_room(
    reconciler: Reconciler, engines: list[FakeEngine], many: list[Version], tmp_path: Path
) -> None:
    """Older than those that are loaded without being asked for; each has a replica all the same."""
    oldest = many[:4]
    for version in oldest:
        await engines[1].load(version.id, tmp_path)
    await reconciler.run_once()
    await reconciler.run_once()
    assert [len(engine.loaded) for engine in engines] == [3, 3]
    held = {name for engine in engines for name in engine.loaded}
    assert {version.id for version in oldest} <= held


async def test_what_is_asked_for_takes_the_place_of_what_is_not(
    reconciler: Reconciler, engines: list[FakeEngine], many: list[Version]
) -> None:
    await reconciler.run_once()
    held = {name for engine in engines for name in engine.loaded}
    cold = [version.id for version in many if version.id not in held]
    await reconciler.run_once(asked=dict.fromkeys(cold, 5.0))
    assert set(cold) <= {name for engine in engines for name in engine.loaded}
    assert [len(engine.loaded) for engine in engines] == [3, 3]


async def test_a_version_that_requests_wait_for_is_loaded_though_nothing_else_wants_it(
    reconciler: Reconciler, engines: list[FakeEngine], many: list[Version], make_version: MakeVersion
) -> None:
    old = await make_version(APPROVED, VersionStatus.RETIRED)
    await reconciler.run_once()
    assert not any(old.id in engine.loaded for engine in engines)
    await reconciler.run_once(waiting=[old.id])
    assert all(old.id in engine.loaded for engine in engines)
    await reconciler.run_once()
    assert not any(old.id in engine.loaded for engine in engines)


async def test_a_version_that_no_alias_points_to_any_more_is_not_kept_for_its_heat(
    reconciler: Reconciler, registry: Registry, engines: list[FakeEngine], make_stable: MakeStable
) -> None:
    version = await make_stable()
    await reconciler.run_once(asked={version.id: 1000.0})
    await registry.move_alias("ten_acme", "default", Alias.STABLE, None, "ada", rolled_back=True)
    await reconciler.run_once(asked={version.id: 1000.0})
    assert not any(version.id in engine.loaded for engine in engines)


async def test_a_pass_says_what_each_replica_holds(
    reconciler: Reconciler, engines: list[FakeEngine], many: list[Version]
) -> None:
    repairs = await reconciler.run_once()
    assert repairs.residency == {engine.url: frozenset(engine.loaded) for engine in engines}


@pytest.fixture
def hasty(reconciler: Reconciler) -> Reconciler:
    """Waits for no load of any length."""
    reconciler._loads = InTurn(0.01)
    return reconciler


async def test_a_replica_that_takes_long_to_load_holds_up_no_other(
    hasty: Reconciler,
    engines: list[FakeEngine],
    make_stable: MakeStable,
    make_version: MakeVersion,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    version, go_on, load, begun = await make_stable(), asyncio.Event(), engines[0].load, list[str]()

    async def slowly(version_id: str, path: Path) -> None:
        begun.append(version_id)
        await go_on.wait()
        await load(version_id, path)

    monkeypatch.setattr(engines[0], "load", slowly)
    assert (await hasty.run_once()).loaded == [Repair("fake://two", version.id)]
    other = await make_version(VersionStatus.GATING)
    assert (await hasty.run_once()).loaded == [Repair("fake://two", other.id)]
    assert begun == [version.id]
    go_on.set()
    loaded = list[Repair]()
    while len(loaded) < 2:
        loaded += (await hasty.run_once()).loaded
    assert loaded == [Repair("fake://one", version.id), Repair("fake://one", other.id)]
    assert not await hasty.run_once()


async def test_replicas_are_looked_at_together(
    reconciler: Reconciler, engines: list[FakeEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that takes all of its time costs the others nothing."""
    both = asyncio.Barrier(2)
    for engine in engines:

        async def together(held: Callable[[], Awaitable[Holding]] = engine.holding) -> Holding:
            await both.wait()
            return await held()

        monkeypatch.setattr(engine, "holding", together)
    async with asyncio.timeout(5):
        assert set((await reconciler.run_once()).residency) == {engine.url for engine in engines}


async def test_while_nobody_can_tell_what_runs_versions_are_loaded_and_none_is_unloaded(
    reconciler: Reconciler, engines: list[FakeEngine], many: list[Version], make_version: MakeVersion
) -> None:
    """Neither what nothing wants nor a copy too many."""
    await reconciler.run_once()
    held = [set(engine.loaded) for engine in engines]
    coming = await make_version(VersionStatus.GATING)
    repairs = await reconciler.run_once({coming.id: 5000.0}, None)
    assert not repairs.unloaded
    for engine, before in zip(engines, held, strict=True):
        assert before | {coming.id} <= engine.loaded.keys()
    assert (await reconciler.run_once()).unloaded
