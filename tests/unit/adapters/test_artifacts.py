import asyncio
from pathlib import Path

import pytest

from adapters.artifacts import MANIFEST, ArtifactStore
from adapters.errors import ArtifactCorrupt, ArtifactMissing, InvalidAdapter

WEIGHTS = "adapter_model.safetensors"


def place(tmp_path: Path, digest: str) -> Path:
    return tmp_path / "artifacts" / digest.removeprefix("sha256:")


async def test_what_was_put_is_fetched(store: ArtifactStore, files: Path, tmp_path: Path) -> None:
    artifact = await store.put(files)
    copy = await store.fetch(artifact.digest, tmp_path / "cache")
    assert (copy / WEIGHTS).read_bytes() == b"weights"
    assert artifact.files == {"adapter_config.json": 2, WEIGHTS: 7}
    assert artifact.size_bytes == 9


async def test_the_same_files_have_the_same_digest(store: ArtifactStore, files: Path) -> None:
    assert await store.put(files) == await store.put(files)


async def test_one_changed_byte_makes_another_digest(store: ArtifactStore, files: Path) -> None:
    before = await store.put(files)
    (files / WEIGHTS).write_bytes(b"weightz")
    assert (await store.put(files)).digest != before.digest


async def test_a_renamed_file_makes_another_digest(store: ArtifactStore, files: Path) -> None:
    before = await store.put(files)
    (files / WEIGHTS).rename(files / "other.safetensors")
    assert (await store.put(files)).digest != before.digest


async def test_a_damaged_artifact_is_never_handed_out(
    store: ArtifactStore, files: Path, tmp_path: Path
) -> None:
    artifact = await store.put(files)
    (place(tmp_path, artifact.digest) / WEIGHTS).write_bytes(b"weightx")
    with pytest.raises(ArtifactCorrupt):
        await store.fetch(artifact.digest, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


async def test_an_artifact_that_lost_a_file_is_corrupt(
    store: ArtifactStore, files: Path, tmp_path: Path
) -> None:
    artifact = await store.put(files)
    (place(tmp_path, artifact.digest) / WEIGHTS).unlink()
    with pytest.raises(ArtifactCorrupt):
        await store.fetch(artifact.digest, tmp_path / "cache")


async def test_a_damaged_local_copy_is_fetched_anew(
    store: ArtifactStore, files: Path, tmp_path: Path
) -> None:
    artifact = await store.put(files)
    copy = await store.fetch(artifact.digest, tmp_path / "cache")
    (copy / WEIGHTS).write_bytes(b"weightx")
    copy = await store.fetch(artifact.digest, tmp_path / "cache")
    assert (copy / WEIGHTS).read_bytes() == b"weights"


async def test_a_local_copy_outlives_the_store(store: ArtifactStore, files: Path, tmp_path: Path) -> None:
    artifact = await store.put(files)
    copy = await store.fetch(artifact.digest, tmp_path / "cache")
    await store.delete(artifact.digest)
    assert await store.fetch(artifact.digest, tmp_path / "cache") == copy


async def test_an_artifact_cut_off_while_being_written_does_not_exist(
    store: ArtifactStore, files: Path, tmp_path: Path
) -> None:
    artifact = await store.put(files)
    (place(tmp_path, artifact.digest) / MANIFEST).write_bytes(b'{"adap')
    assert not await store.exists(artifact.digest)


async def test_writing_again_repairs_a_cut_off_artifact(
    store: ArtifactStore, files: Path, tmp_path: Path
) -> None:
    artifact = await store.put(files)
    (place(tmp_path, artifact.digest) / MANIFEST).unlink()
    await store.put(files)
    assert await store.exists(artifact.digest)


@pytest.mark.parametrize("left", [b"", None])
async def test_writing_again_repairs_an_artifact_of_which_a_file_was_lost(
    store: ArtifactStore, files: Path, tmp_path: Path, left: bytes | None
) -> None:
    """Somebody deleted it while somebody else wrote it."""
    artifact = await store.put(files)
    lost = place(tmp_path, artifact.digest) / WEIGHTS
    lost.unlink()
    if left is not None:
        lost.write_bytes(left)
    assert not await store.exists(artifact.digest)
    await store.put(files)
    assert (await store.fetch(artifact.digest, tmp_path / "cache") / WEIGHTS).read_bytes() == b"weights"


async def test_a_deleted_artifact_is_missing(store: ArtifactStore, files: Path, tmp_path: Path) -> None:
    artifact = await store.put(files)
    await store.delete(artifact.digest)
    await store.delete(artifact.digest)
    with pytest.raises(ArtifactMissing):
        await store.fetch(artifact.digest, tmp_path / "cache")


@pytest.mark.parametrize("digest", ["sha256:../../etc", "", "sha256:" + "A" * 64])
async def test_what_is_no_digest_names_no_artifact(store: ArtifactStore, tmp_path: Path, digest: str) -> None:
    with pytest.raises(ArtifactMissing):
        await store.fetch(digest, tmp_path / "cache")


async def test_a_link_is_no_part_of_an_artifact(store: ArtifactStore, files: Path) -> None:
    (files / "secret").symlink_to("/etc/passwd")
    with pytest.raises(InvalidAdapter):
        await store.put(files)


async def test_an_empty_directory_is_no_artifact(store: ArtifactStore, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidAdapter):
        await store.put(tmp_path / "empty")


async def test_many_may_fetch_at_once(store: ArtifactStore, files: Path, tmp_path: Path) -> None:
    artifact = await store.put(files)
    copies = await asyncio.gather(*(store.fetch(artifact.digest, tmp_path / "cache") for _ in range(8)))
    assert len(set(copies)) == 1
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [copies[0].name]


async def test_one_file_comes_in_pieces_as_it_is_stored(store: ArtifactStore, files: Path) -> None:
    artifact = await store.put(files)
    for name in artifact.files:
        assert b"".join(await store.pieces(artifact.digest, name)) == (files / name).read_bytes()


@pytest.mark.parametrize("name", ["..", "nothing", ""])
async def test_what_is_no_file_of_an_artifact_is_not_read(
    store: ArtifactStore, files: Path, name: str
) -> None:
    artifact = await store.put(files)
    with pytest.raises(ArtifactMissing):
        await store.pieces(artifact.digest, name)


@pytest.mark.parametrize(
    ("left", "why"), [(b"weightx", "differs"), (b"weights and more", "16 bytes instead of 7")]
)
async def test_contents_that_changed_break_off_at_their_end(
    store: ArtifactStore, files: Path, tmp_path: Path, left: bytes, why: str
) -> None:
    artifact = await store.put(files)
    (place(tmp_path, artifact.digest) / WEIGHTS).write_bytes(left)
    contents = await store.contents(artifact.digest)
    assert b"".join(contents["adapter_config.json"]) == b"{}"
    with pytest.raises(ArtifactCorrupt, match=why):
        list(contents[WEIGHTS])
