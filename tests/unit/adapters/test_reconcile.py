from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from adapters.artifacts import ArtifactStore
from adapters.reconcile import Reconciler, Repair
from adapters.registry import Registry
from adapters.swap import Holds
from adapters.testing import FakeEngine, FakeWorkers
from adapters.types import Alias, Version, VersionStatus
from tests.unit.adapters.conftest import MakeVersion

APPROVED = VersionStatus.APPROVED


@pytest.fixture
def engines() -> list[FakeEngine]:
    return [FakeEngine("fake://one"), FakeEngine("fake://two")]


@pytest.fixture
async def workers() -> FakeWorkers:
    workers = FakeWorkers()
    await workers.apply(1_000_000)
    return workers


@pytest.fixture
def holds() -> Holds:
    return Holds()


@pytest.fixture
def reconciler(
    registry: Registry,
    store: ArtifactStore,
    engines: list[FakeEngine],
    workers: FakeWorkers,
    holds: Holds,
    tmp_path: Path,
) -> Reconciler:
    return Reconciler(registry, store, engines, workers, holds, tmp_path / "cache")


@pytest.fixture
def make_stable(registry: Registry, make_version: MakeVersion) -> Callable[[], Awaitable[Version]]:
    async def make() -> Version:
        version: Version = await make_version(APPROVED)
        await registry.move_alias("ten_acme", "default", Alias.STABLE, version.id, "ada")
        return version

    return make


MakeStable = Callable[[], Awaitable[Version]]


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
