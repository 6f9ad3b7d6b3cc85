from pathlib import Path

import pytest

from adapters.artifacts import ArtifactStore
from adapters.errors import ArtifactMissing, EngineRefused, EngineUnavailable, ProbeFailed, WrongBase
from adapters.loading import Loader
from adapters.testing import FakeEngine
from tests.unit.adapters.conftest import MakeVersion


@pytest.fixture
def engines() -> list[FakeEngine]:
    return [FakeEngine("fake://one"), FakeEngine("fake://two")]


@pytest.fixture
def loader(store: ArtifactStore, engines: list[FakeEngine], tmp_path: Path) -> Loader:
    return Loader(store, engines, tmp_path / "cache")


async def test_a_version_is_loaded_into_every_replica_from_a_verified_copy(
    loader: Loader, engines: list[FakeEngine], make_version: MakeVersion, tmp_path: Path
) -> None:
    version = await make_version()
    await loader.ensure(version)
    for engine in engines:
        assert engine.loaded[version.id].parent == tmp_path / "cache"


async def test_a_replica_that_holds_the_version_is_left_alone(
    loader: Loader, engines: list[FakeEngine], make_version: MakeVersion
) -> None:
    version = await make_version()
    await loader.load(version, engines[:1])
    assert await loader.load(version, engines) == engines[1:]


async def test_a_replica_that_is_down_does_not_stop_the_others(
    loader: Loader, engines: list[FakeEngine], make_version: MakeVersion
) -> None:
    engines[0].down = True
    version = await make_version()
    await loader.ensure(version)
    assert await engines[1].resident() == {version.id}


async def test_without_a_healthy_replica_nothing_can_be_loaded(
    loader: Loader, engines: list[FakeEngine], make_version: MakeVersion
) -> None:
    for engine in engines:
        engine.down = True
    with pytest.raises(EngineUnavailable):
        await loader.ensure(await make_version())


async def test_a_replica_that_fetches_by_itself_needs_no_file_of_ours(
    store: ArtifactStore, make_version: MakeVersion, tmp_path: Path
) -> None:
    class Fetching(FakeEngine):
        async def pull(self, version_id: str, digest: str) -> bool:
            self.loaded[version_id] = Path(digest)
            return True

    version, engine = await make_version(), Fetching()
    await Loader(store, [engine], tmp_path / "cache").ensure(version)
    assert engine.loaded == {version.id: Path(version.artifact_digest)}
    assert not (tmp_path / "cache").exists()


async def test_a_missing_artifact_never_reaches_an_engine(
    loader: Loader, engines: list[FakeEngine], store: ArtifactStore, make_version: MakeVersion
) -> None:
    version = await make_version()
    await store.delete(version.artifact_digest)
    with pytest.raises(ArtifactMissing):
        await loader.ensure(version)
    assert engines[0].calls == []


async def test_an_engine_that_refuses_is_quoted(
    loader: Loader, engines: list[FakeEngine], make_version: MakeVersion
) -> None:
    version = await make_version()
    engines[0].refused.add(version.id)
    with pytest.raises(EngineRefused, match="refused by the test"):
        await loader.ensure(version)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("inert", "exactly like the base"), ("broken", "not numbers"), ("deaf", "does not list")],
)
async def test_a_probe_finds_a_version_that_does_not_act(
    loader: Loader, engines: list[FakeEngine], make_version: MakeVersion, fault: str, reason: str
) -> None:
    version = await make_version()
    getattr(engines[1], fault).add(version.id)
    with pytest.raises(ProbeFailed, match=reason):
        await loader.ensure(version)


async def test_a_replica_of_another_base_model_is_passed_over(
    store: ArtifactStore, engines: list[FakeEngine], make_version: MakeVersion, tmp_path: Path
) -> None:
    other = FakeEngine("fake://other", base_digest="sha256:other")
    version = await make_version()
    await Loader(store, [*engines, other], tmp_path / "cache").ensure(version)
    assert not other.loaded and all(version.id in engine.loaded for engine in engines)


async def test_a_replica_of_another_base_model_is_never_loaded_by_name_either(
    loader: Loader, make_version: MakeVersion
) -> None:
    other = FakeEngine("fake://other", base_digest="sha256:other")
    with pytest.raises(WrongBase):
        await loader.load(await make_version(), [other])
    assert not other.loaded


async def test_other_base_models_replicas_are_no_help_when_its_own_are_down(
    store: ArtifactStore, make_version: MakeVersion, tmp_path: Path
) -> None:
    other = FakeEngine("fake://other", base_digest="sha256:other")
    with pytest.raises(EngineUnavailable, match="none of base model sha256:base"):
        await Loader(store, [other], tmp_path / "cache").ensure(await make_version())
