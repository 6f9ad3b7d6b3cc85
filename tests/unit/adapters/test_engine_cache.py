import asyncio
import os
from pathlib import Path

import pytest

from adapters.artifacts import ArtifactStore, hex_of
from adapters.engine_cache import EngineCache
from adapters.errors import ArtifactCorrupt, ArtifactMissing, CacheFull, StoreUnavailable, UnknownVersion

KIB = 1024


class World:
    """A store with artifacts of one KiB each, and an engine's cache that has room for three."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.store = ArtifactStore((directory / "store").as_uri())
        self.digests: dict[str, str] = {}
        self.asked: list[str] = []
        self.cache = self.engine()

    def engine(self, store: ArtifactStore | None = None, grace_s: float = 0.0) -> EngineCache:
        """The cache as a new process of the engine sees it."""
        limit = 3 * KIB + 600
        return EngineCache(self.directory / "cache", limit, store or self.store, self._digest_of, grace_s)

    async def made(self, *names: str) -> None:
        for name in names:
            files = self.directory / name
            files.mkdir()
            (files / "weights").write_bytes(name.encode().ljust(KIB, b"."))
            self.digests[name] = (await self.store.put(files)).digest

    async def fetched(self, *names: str) -> None:
        """One after the other, each a second older than the next."""
        for age, name in enumerate(reversed(names)):
            path = await self.cache.path_of(name, self.digests[name])
            os.utime(path, (1_000_000 - age, 1_000_000 - age))

    def on_disk(self) -> set[str]:
        held = {path.name for path in (self.directory / "cache" / "artifacts").iterdir()}
        return {name for name, digest in self.digests.items() if hex_of(digest) in held}

    async def _digest_of(self, version_id: str) -> str:
        self.asked.append(version_id)
        try:
            return self.digests[version_id]
        except KeyError:
            raise UnknownVersion(version_id) from None


@pytest.fixture
async def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    await made.made("one", "two", "three", "four")
    return made


async def test_control_tells_the_digest_of_a_version_that_was_never_loaded(world: World) -> None:
    path = await world.cache.path_of("one")
    assert (path / "weights").read_bytes().startswith(b"one.")
    assert world.asked == ["one"]


async def test_a_restarted_engine_needs_neither_control_nor_the_store(world: World) -> None:
    await world.cache.path_of("one", world.digests["one"])
    nowhere = ArtifactStore((world.directory / "nowhere").as_uri())
    assert (await world.engine(nowhere).path_of("one")).is_dir()
    assert world.asked == []


async def test_a_forgotten_version_is_asked_for_again(world: World) -> None:
    await world.cache.path_of("one", world.digests["one"])
    world.cache.forget("one")
    await world.engine().path_of("one")
    assert world.asked == ["one"]


async def test_the_copy_that_was_not_used_for_longest_makes_room(world: World) -> None:
    world.cache.in_use = set
    await world.fetched("one", "two", "three")
    await world.cache.path_of("four")
    assert world.on_disk() == {"two", "three", "four"}


async def test_a_copy_in_use_stays_although_it_is_the_oldest(world: World) -> None:
    world.cache.in_use = lambda: {hex_of(world.digests["one"])}
    await world.fetched("one", "two", "three")
    await world.cache.path_of("four")
    assert world.on_disk() == {"one", "three", "four"}


async def test_when_all_is_in_use_nothing_goes_and_nothing_comes(world: World) -> None:
    await world.fetched("one", "two", "three")
    with pytest.raises(CacheFull):
        await world.cache.path_of("four")
    assert world.on_disk() == {"one", "two", "three"}


async def test_a_copy_that_the_engine_is_about_to_read_stays(world: World) -> None:
    world.cache = world.engine(grace_s=60)
    world.cache.in_use = set
    await world.fetched("one", "two", "three")
    with pytest.raises(CacheFull):
        await world.cache.path_of("four")


async def test_many_at_once_keep_the_bound(world: World) -> None:
    world.cache.in_use = set
    await asyncio.gather(*(world.cache.path_of(name) for name in world.digests))
    assert len(world.on_disk()) == 3


async def test_a_changed_file_in_the_store_is_refused(world: World) -> None:
    kept = world.directory / "store" / hex_of(world.digests["one"]) / "weights"
    kept.write_bytes(b"!" * KIB)
    with pytest.raises(ArtifactCorrupt):
        await world.cache.path_of("one")
    assert world.on_disk() == set()


async def test_a_copy_that_was_changed_is_fetched_anew(world: World) -> None:
    path = await world.cache.path_of("one")
    (path / "weights").write_bytes(b"!" * KIB)
    assert ((await world.cache.path_of("one")) / "weights").read_bytes().startswith(b"one.")


async def test_an_artifact_that_the_store_lacks_is_missing(world: World) -> None:
    with pytest.raises(ArtifactMissing):
        await world.cache.path_of("one", f"sha256:{'0' * 64}")


@pytest.mark.parametrize("name", ["../etc", "a/b", "", "x" * 65, "ver_ü"])
async def test_a_name_that_is_no_version_id_reaches_no_disk(world: World, name: str) -> None:
    with pytest.raises(UnknownVersion):
        await world.cache.path_of(name)
    assert world.asked == []


async def test_a_store_that_does_not_answer_is_not_a_missing_artifact(world: World) -> None:
    away = ArtifactStore("http://127.0.0.1:9/artifacts")
    with pytest.raises(StoreUnavailable):
        await world.engine(away).path_of("one", world.digests["one"])


async def test_a_full_disk_is_no_fault_of_the_version(world: World) -> None:
    names = world.directory / "cache" / "names"
    names.mkdir(parents=True)
    (names / ".one").symlink_to("/dev/full")
    with pytest.raises(StoreUnavailable, match="No space left"):
        await world.cache.path_of("one")
    (names / ".one").unlink()
    assert (await world.cache.path_of("one")).is_dir()
