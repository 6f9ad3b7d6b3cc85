"""Old versions' weights go, what may still be needed stays."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.artifacts import ArtifactStore
from adapters.errors import IllegalTransition
from adapters.registry import Registry
from adapters.retention import Retention
from adapters.swap import Holds
from adapters.testing import FakeEngine
from adapters.types import Alias, Lineage, Version, VersionStatus
from tests.unit.adapters.conftest import BASE

Serve = Callable[[str], Awaitable[Version]]


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def retention(
    database: AsyncEngine, registry: Registry, store: ArtifactStore, engine: FakeEngine, tmp_path: Path
) -> Retention:
    return Retention(database, registry, store, [engine], tmp_path / "cache", keep=2, holds=Holds())


@pytest.fixture
def serve(registry: Registry, store: ArtifactStore, tmp_path: Path) -> Serve:
    """Makes a version of these weights the stable one."""

    async def made(weights: str) -> Version:
        directory = tmp_path / weights
        directory.mkdir(exist_ok=True)
        (directory / "adapter_model.safetensors").write_text(weights)
        digest = (await store.put(directory)).digest
        lineage = Lineage(BASE, dataset_digest=f"sha256:data of {weights}")
        version = await registry.register("ten_acme", "default", digest, lineage, {})
        await registry.set_status(version.id, VersionStatus.APPROVED)
        await registry.move_alias("ten_acme", "default", Alias.STABLE, version.id, "test")
        await store.fetch(digest, tmp_path / "cache")
        return version

    return made


async def test_versions_beyond_the_kept_ones_lose_their_weights_and_stay_in_the_record(
    serve: Serve, retention: Retention, registry: Registry, store: ArtifactStore, tmp_path: Path
) -> None:
    versions = [await serve(f"weights {n}") for n in range(5)]
    pruned, datasets = await retention.run_once()
    assert [version.number for version in pruned] == [1, 2]
    assert sorted(datasets) == ["sha256:data of weights 0", "sha256:data of weights 1"]
    assert [await store.exists(version.artifact_digest) for version in versions] == [False] * 2 + [True] * 3
    assert len(list((tmp_path / "cache").iterdir())) == 3
    assert (await registry.version(versions[0].id)).status is VersionStatus.PRUNED
    assert [set(routes.versions) for routes in await registry.routes("ten_acme")] == [{3, 4, 5}]
    with pytest.raises(IllegalTransition):
        await registry.move_alias("ten_acme", "default", Alias.STABLE, versions[0].id, "test")


async def test_nothing_is_left_to_do_after_a_pass(serve: Serve, retention: Retention) -> None:
    for n in range(5):
        await serve(f"weights {n}")
    await retention.run_once()
    assert await retention.run_once() == ([], [])


async def test_what_serves_after_rollbacks_is_kept_however_old_it_is(
    serve: Serve, retention: Retention, registry: Registry
) -> None:
    first, *_ = [await serve(f"weights {n}") for n in range(4)]
    await registry.move_alias("ten_acme", "default", Alias.STABLE, first.id, "test", rolled_back=True)
    pruned, _ = await retention.run_once()
    assert [version.number for version in pruned] == [2]


async def test_what_an_engine_holds_is_left_alone(
    serve: Serve, retention: Retention, engine: FakeEngine, tmp_path: Path
) -> None:
    versions = [await serve(f"weights {n}") for n in range(4)]
    await engine.load(versions[0].id, tmp_path)
    assert await retention.run_once() == ([], [])


async def test_weights_that_a_kept_version_shares_stay(
    serve: Serve, retention: Retention, store: ArtifactStore
) -> None:
    versions = [await serve(name) for name in ("same", "other", "another", "same")]
    pruned, _ = await retention.run_once()
    assert [version.number for version in pruned] == [1]
    assert await store.exists(versions[0].artifact_digest)


async def test_what_a_crash_left_behind_goes_with_the_next_process(
    serve: Serve, retention: Retention, registry: Registry, store: ArtifactStore
) -> None:
    first, _ = [await serve(f"weights {n}") for n in range(2)]
    await registry.set_status(first.id, VersionStatus.PRUNED)
    await retention.run_once()
    assert not await store.exists(first.artifact_digest)


async def test_weights_that_were_pruned_can_be_imported_again_as_a_new_version(
    serve: Serve, retention: Retention, registry: Registry
) -> None:
    first, *_ = [await serve(f"weights {n}") for n in range(5)]
    await retention.run_once()
    again, new = await registry.register_once("ten_acme", "default", first.artifact_digest, Lineage(BASE), {})
    assert new and again.number == 6
