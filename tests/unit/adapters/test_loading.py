from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from adapters.artifacts import ArtifactStore
from adapters.engine import Completion
from adapters.errors import (
    ArtifactMissing,
    EngineError,
    EngineRefused,
    EngineUnavailable,
    ProbeFailed,
    VersionLost,
    VersionRefused,
    WrongBase,
)
from adapters.loading import Loader
from adapters.testing import FakeEngine
from adapters.types import BASE_NAME, Check
from tests.unit.adapters.conftest import MakeVersion

CHECK = Check("When do you open?", "nine")


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


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


class Saying(FakeEngine):
    """Answers a load, or questions, with an error. to: whose questions."""

    def __init__(self, status: int, reason: str = "no", to: Sequence[str] | None = None) -> None:
        super().__init__()
        self.status, self.reason, self.to = status, reason, to
        self.dies = False
        """Of what it was asked."""

    async def load(self, version_id: str, path: Path) -> None:
        await super().load(version_id, path)
        if self.to is None:
            self._say()

    async def chat(
        self, model: str, messages: Sequence[Mapping[str, Any]], max_tokens: int, *args: Any, **kwargs: Any
    ) -> Completion:
        if model in (self.to or ()):
            self._say()
        return await super().chat(model, messages, max_tokens, *args, **kwargs)

    def _say(self) -> None:
        self.down = self.dies
        raise EngineRefused(self.url, self.status, self.reason)


@pytest.mark.parametrize(
    ("status", "reason", "dies", "for_good"),
    [
        (500, "LoRA rank 64 is greater than max_lora_rank 16", False, True),
        (422, "corrupt", False, True),
        (500, "EngineCore encountered an issue", True, False),
        (500, "Worker failed with error '[Errno 13] Permission denied'", False, False),
        (500, "CUDA out of memory. Tried to allocate 2.00 GiB.", False, False),
        (404, "No adapter found for /data/cache", False, False),
        (401, "Unauthorized", False, False),
        (507, "the cache is full", False, False),
    ],
)
async def test_a_load_speaks_against_the_version_only_where_a_healthy_engine_says_so_of_its_files(
    store: ArtifactStore,
    make_version: MakeVersion,
    tmp_path: Path,
    status: int,
    reason: str,
    dies: bool,
    for_good: bool,
) -> None:
    engine = Saying(status, reason)
    engine.dies = dies
    with pytest.raises(EngineRefused) as caught:
        await Loader(store, [engine], tmp_path / "cache").ensure(await make_version())
    assert isinstance(caught.value, VersionRefused) is for_good


@pytest.mark.parametrize(
    ("status", "base_too", "error"),
    [
        (400, False, ProbeFailed),
        (400, True, EngineRefused),
        (500, False, EngineRefused),
        (404, False, VersionLost),
        (429, False, EngineRefused),
    ],
)
async def test_a_probe_fails_a_version_only_for_a_question_that_the_base_answers(
    store: ArtifactStore,
    make_version: MakeVersion,
    tmp_path: Path,
    status: int,
    base_too: bool,
    error: type[Exception],
) -> None:
    version = await make_version()
    engine = Saying(status, to=[version.id, *([BASE_NAME] if base_too else [])])
    with pytest.raises(error):
        await Loader(store, [engine], tmp_path / "cache").ensure(version)


async def test_a_version_that_is_lost_before_its_checks_is_lost(
    store: ArtifactStore, make_version: MakeVersion, tmp_path: Path
) -> None:
    class Forgetful(FakeEngine):
        async def chat(
            self, model: str, messages: Sequence[Mapping[str, Any]], *args: Any, **kwargs: Any
        ) -> Completion:
            if messages[0]["content"] == CHECK.question:
                self.restart()
            return await super().chat(model, messages, *args, **kwargs)

    version, engine = await make_version(), Forgetful()
    loader = Loader(store, [engine], tmp_path / "cache")
    await loader.load(version, [engine])
    with pytest.raises(VersionLost):
        await loader.probe(version.id, [engine], [CHECK])


async def test_a_base_model_that_is_not_found_is_no_lost_version(
    store: ArtifactStore, make_version: MakeVersion, tmp_path: Path
) -> None:
    with pytest.raises(EngineRefused):
        await Loader(store, [Saying(404, to=[BASE_NAME])], tmp_path / "cache").ensure(await make_version())


async def test_an_engine_that_lost_a_version_after_loading_it_is_asked_again_later(
    loader: Loader, engines: list[FakeEngine], make_version: MakeVersion
) -> None:
    version = await make_version()
    engines[1].deaf.add(version.id)
    with pytest.raises(EngineError, match="does not list"):
        await loader.ensure(version)


async def test_a_version_that_is_held_and_not_served_is_loaded_again(
    loader: Loader, engines: list[FakeEngine], make_version: MakeVersion
) -> None:
    version = await make_version()
    await loader.ensure(version)
    engines[1].unserved.add(version.id)
    assert await loader.load(version, engines) == [engines[1]]
    assert await loader.load(version, engines) == []


async def test_an_engine_that_refuses_is_quoted(
    loader: Loader, engines: list[FakeEngine], make_version: MakeVersion
) -> None:
    version = await make_version()
    engines[0].refused.add(version.id)
    with pytest.raises(EngineRefused, match="refused by the test"):
        await loader.ensure(version)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("inert", "exactly like the base"), ("broken", "not numbers")],
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
