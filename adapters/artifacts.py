"""The artifact store: a version's files under their digest, on a disk or in any store that fsspec reaches.

An artifact's digest is the SHA-256 of its manifest, and the manifest names every file with size and SHA-256.
The manifest is written last. So a half-written artifact has none, or one that does not match its own digest:
both count as absent, and writing it again repairs it. No rename is needed, which only some stores can do.
"""

import asyncio
import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

from adapters.errors import ArtifactCorrupt, ArtifactMissing, InvalidAdapter
from adapters.rooms import room
from adapters.types import Artifact

MANIFEST = "manifest.json"
_PREFIX = "sha256:"
_PIECE_BYTES = 1024 * 1024


@dataclass(frozen=True)
class _Entry:
    size: int
    sha256: str


_Manifest = Mapping[str, _Entry]


class ArtifactStore:
    """Content-addressed directories below `url` (`file:///…`, `s3://…`, `http://…`), shared between processes.

    options: for fsspec's file system of that kind, such as credentials.
    """

    def __init__(self, url: str, **options: Any) -> None:
        self._fs, root = fsspec.core.url_to_fs(url, **options)
        self._root: str = root.rstrip("/")

    async def put(self, directory: Path) -> Artifact:
        """Store the files of a flat directory. Storing the same files again is cheap and changes nothing.

        Raises InvalidAdapter when the directory is empty or holds links or folders.
        """
        return await asyncio.to_thread(self._put, directory)

    async def fetch(self, digest: str, into: Path) -> Path:
        """A verified local copy of an artifact at `into/<digest without prefix>`, made once and reused.

        Raises ArtifactMissing, ArtifactCorrupt.
        """
        return await asyncio.to_thread(self._fetch, digest, into)

    async def exists(self, digest: str) -> bool:
        """Whether the whole artifact is there, by its files' sizes; what they hold is verified on fetch, not here."""
        return await asyncio.to_thread(self._exists, digest)

    async def delete(self, digest: str) -> None:
        """Remove an artifact. Deleting what is not there is no error."""
        await asyncio.to_thread(self._delete, digest)

    async def files(self, digest: str) -> Artifact:
        """What an artifact consists of. Raises ArtifactMissing, ArtifactCorrupt."""
        return _artifact(digest, await asyncio.to_thread(self._manifest, digest))

    async def verified(self, digest: str) -> Artifact:
        """What an artifact consists of, once every byte of it was read in the store and is right.

        Raises ArtifactMissing, ArtifactCorrupt.
        """
        return _artifact(digest, await asyncio.to_thread(self._verified, digest))

    async def pieces(self, digest: str, name: str) -> Iterator[bytes]:
        """One file as the store holds it, manifest included, for somebody who verifies it himself.

        Raises ArtifactMissing, also for a file that the artifact does not have, and ArtifactCorrupt.
        """
        return await asyncio.to_thread(self._pieces, digest, name)

    async def contents(self, digest: str) -> Mapping[str, Iterator[bytes]]:
        """All files as the store holds them, in pieces. Raises as `pieces`; a file that is not what was written raises
        ArtifactCorrupt after its last piece.
        """
        return await asyncio.to_thread(self._contents, digest)

    def _contents(self, digest: str) -> Mapping[str, Iterator[bytes]]:
        manifest = self._manifest(digest)
        return {
            name: _checked(digest, name, entry, self._pieces(digest, name))
            for name, entry in manifest.items()
        }

    def _pieces(self, digest: str, name: str) -> Iterator[bytes]:
        if name != MANIFEST and name not in self._manifest(digest):
            raise ArtifactMissing(digest)
        try:
            file = self._fs.open(self._place(digest, name), "rb")
        except FileNotFoundError:
            raise ArtifactMissing(digest) from None
        return _chunks(file)

    def _verified(self, digest: str) -> _Manifest:
        manifest = self._manifest(digest)
        for name, entry in manifest.items():
            for _ in _checked(digest, name, entry, self._pieces(digest, name)):
                pass
        return manifest

    def _put(self, directory: Path) -> Artifact:
        manifest = _manifest_of(directory)
        body = _encoded(manifest)
        digest = _digest(body)
        if not self._exists(digest):
            self._fs.makedirs(self._place(digest), exist_ok=True)
            for name in manifest:
                self._fs.put_file(str(directory / name), self._place(digest, name))
            self._fs.pipe_file(self._place(digest, MANIFEST), body)
        return _artifact(digest, manifest)

    def _fetch(self, digest: str, into: Path) -> Path:
        target = into / hex_of(digest)
        if _intact(target, digest):
            return target
        manifest = self._manifest(digest)
        with room(into) as scratch:
            copy = scratch / "copy"
            copy.mkdir()
            for name in manifest:
                self._copy_out(digest, name, copy / name)
            (copy / MANIFEST).write_bytes(_encoded(manifest))
            _verify(copy, digest, manifest)
            _install(copy, target, digest)
        return target

    def _copy_out(self, digest: str, name: str, target: Path) -> None:
        try:
            self._fs.get_file(self._place(digest, name), str(target))
        except FileNotFoundError:
            raise ArtifactCorrupt(digest, f"{name} is missing") from None

    def _manifest(self, digest: str) -> _Manifest:
        try:
            body: bytes = self._fs.cat_file(self._place(digest, MANIFEST))
        except FileNotFoundError:
            raise ArtifactMissing(digest) from None
        return _decoded(body, digest)

    def _exists(self, digest: str) -> bool:
        """A deletion that met a write may have left the manifest without some of its files."""
        try:
            manifest = self._manifest(digest)
            sizes = [self._fs.size(self._place(digest, name)) for name in manifest]
        except (ArtifactMissing, ArtifactCorrupt, FileNotFoundError):
            return False
        return sizes == [entry.size for entry in manifest.values()]

    def _delete(self, digest: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._place(digest, MANIFEST))
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm(self._place(digest), recursive=True)

    def _place(self, digest: str, *names: str) -> str:
        return "/".join([self._root, hex_of(digest), *names])


def digest_of(directory: Path) -> str:
    """The digest that a flat directory's files have as an artifact. Raises InvalidAdapter, as `put` does."""
    return _digest(_encoded(_manifest_of(directory)))


def _artifact(digest: str, manifest: _Manifest) -> Artifact:
    sizes = {name: entry.size for name, entry in manifest.items()}
    return Artifact(digest, sum(sizes.values()), sizes)


def _manifest_of(directory: Path) -> _Manifest:
    paths = sorted(path for path in directory.iterdir() if path.name != MANIFEST)
    if not paths:
        raise InvalidAdapter("the directory holds no files", directory.name)
    for path in paths:
        if path.is_symlink() or not path.is_file():
            raise InvalidAdapter("only plain files can be part of an artifact", path.name)
    return {path.name: _Entry(path.stat().st_size, _sha256(path)) for path in paths}


def _encoded(manifest: _Manifest) -> bytes:
    listed = {name: [entry.size, entry.sha256] for name, entry in sorted(manifest.items())}
    return json.dumps(listed, separators=(",", ":"), ensure_ascii=True).encode()


def _decoded(body: bytes, digest: str) -> _Manifest:
    """The manifest, once it matches the digest it was asked by; its contents can be trusted after that."""
    if _digest(body) != digest:
        raise ArtifactCorrupt(digest, "its manifest has another digest")
    listed: dict[str, Any] = json.loads(body)
    return {name: _Entry(size, sha256) for name, (size, sha256) in listed.items()}


def _verify(directory: Path, digest: str, manifest: _Manifest) -> None:
    for name, entry in manifest.items():
        path = directory / name
        if path.stat().st_size != entry.size or _sha256(path) != entry.sha256:
            raise ArtifactCorrupt(digest, f"{name} differs from what was written")


def _intact(target: Path, digest: str) -> bool:
    """Whether a local copy is still what it was; a copy that was damaged is fetched anew."""
    try:
        _verify(target, digest, _decoded((target / MANIFEST).read_bytes(), digest))
    except (FileNotFoundError, ArtifactCorrupt):
        return False
    return True


def _install(copy: Path, target: Path, digest: str) -> None:
    """Move a verified copy into place; two fetchers may race, and either one's copy is good."""
    if _intact(target, digest):
        return
    if target.exists():
        shutil.rmtree(target, ignore_errors=True)
    try:
        copy.rename(target)
    except OSError:
        if not _intact(target, digest):
            raise


def _chunks(file: Any) -> Iterator[bytes]:
    with file:
        while piece := file.read(_PIECE_BYTES):
            yield piece


def _checked(digest: str, name: str, entry: _Entry, pieces: Iterator[bytes]) -> Iterator[bytes]:
    seen, size = hashlib.sha256(), 0
    for piece in pieces:
        seen.update(piece)
        size += len(piece)
        yield piece
    if size != entry.size:
        raise ArtifactCorrupt(digest, f"{name} has {size} bytes instead of {entry.size}")
    if seen.hexdigest() != entry.sha256:
        raise ArtifactCorrupt(digest, f"{name} differs from what was written")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(body: bytes) -> str:
    return _PREFIX + hashlib.sha256(body).hexdigest()


def hex_of(digest: str) -> str:
    """The digest as a directory name. Raises ArtifactMissing for anything else, which could leave the store's root."""
    plain = digest.removeprefix(_PREFIX)
    if len(plain) != 64 or not set(plain) <= set("0123456789abcdef"):
        raise ArtifactMissing(digest)
    return plain
