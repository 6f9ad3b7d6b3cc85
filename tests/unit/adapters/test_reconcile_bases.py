"""Replicas of several base models, reconciled together."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from adapters.artifacts import ArtifactStore
from adapters.reconcile import Reconciler
from adapters.registry import Registry
from adapters.testing import FakeEngine
from adapters.types import Alias, Lineage, Version, VersionStatus
from tests.unit.adapters.conftest import MakeStable

APPROVED = VersionStatus.APPROVED
OTHER = "sha256:other"


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
def strangers() -> list[FakeEngine]:
    """Replicas of another base model."""
    return [FakeEngine(f"fake://other-{number}", base_digest=OTHER) for number in range(2)]


@pytest.fixture
def pools(
    reconcile: Callable[[Sequence[FakeEngine]], Reconciler],
    engines: list[FakeEngine],
    strangers: list[FakeEngine],
) -> Reconciler:
    """Of both base models' replicas."""
    return reconcile([*engines, *strangers])


@pytest.fixture
async def foreign(registry: Registry, store: ArtifactStore, files: Path) -> Version:
    """A stable version of an adapter of the other base model."""
    await registry.ensure_adapter("ten_acme", "big", OTHER)
    artifact = await store.put(files)
    version = await registry.register("ten_acme", "big", artifact.digest, Lineage(OTHER), {})
    await registry.set_status(version.id, APPROVED)
    await registry.move_alias("ten_acme", "big", Alias.STABLE, version.id, "ada")
    return version


async def test_a_version_is_loaded_on_replicas_of_its_own_base_model_only(
    pools: Reconciler,
    engines: list[FakeEngine],
    strangers: list[FakeEngine],
    make_stable: MakeStable,
    foreign: Version,
) -> None:
    """Asked for, waited for and hot as it may be."""
    version = await make_stable()
    for _ in range(2):
        await pools.run_once({foreign.id: 5000.0, version.id: 5000.0}, [foreign.id, version.id])
    assert [set(engine.loaded) for engine in engines] == [{version.id}] * 2
    assert [set(engine.loaded) for engine in strangers] == [{foreign.id}] * 2
    assert not await pools.run_once()


async def test_a_version_that_somebody_put_on_a_replica_of_another_base_model_is_removed(
    pools: Reconciler, engines: list[FakeEngine], foreign: Version, tmp_path: Path
) -> None:
    await engines[0].load(foreign.id, tmp_path)
    await pools.run_once()
    assert not engines[0].loaded


async def test_full_replicas_of_one_base_model_leave_room_on_those_of_another(
    pools: Reconciler, strangers: list[FakeEngine], many: list[Version], foreign: Version
) -> None:
    await pools.run_once()
    assert [set(engine.loaded) for engine in strangers] == [{foreign.id}] * 2
