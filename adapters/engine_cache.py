"""An engine's own copies of artifacts: fetched from the store, verified, bounded in size. Runs beside the engine.

The disk holds `artifacts/<digest>/…` and, for each version that was ever asked for and not removed since,
`names/<version id>` with its digest: a restarted engine needs no control to find what it served before.
"""

import asyncio
import os
import re
import shutil
import time
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

from adapters.artifacts import ArtifactStore, hex_of
from adapters.errors import AdaptersError, CacheFull, StoreUnavailable, UnknownVersion

DigestOf = Callable[[str], Awaitable[str]]
"""A version's digest by its id. Raises UnknownVersion, StoreUnavailable."""
_VERSION_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class EngineCache:
    """Least recently used copies go first; a copy in use never does, because an engine re-reads its files."""

    def __init__(
        self,
        directory: Path,
        limit_bytes: int,
        store: ArtifactStore,
        digest_of: DigestOf,
        grace_s: float = 60.0,
    ) -> None:
        """grace_s: for so long after it was given out a copy counts as in use, because the engine is about to read
        it."""
        self._artifacts = directory / "artifacts"
        self._names = directory / "names"
        self._limit = limit_bytes
        self._store = store
        self._digest_of = digest_of
        self._grace_s = grace_s
        self._given: dict[str, float] = {}
        self.in_use: Callable[[], Collection[str]] = self._given.keys
        """Directory names of the copies that must stay. Until somebody knows better: all that were given out."""
        self._changing = asyncio.Lock()

    async def path_of(self, version_id: str, digest: str | None = None) -> Path:
        """A directory with the version's verified files. digest: as control told it; None to find it out.

        Raises UnknownVersion, ArtifactMissing, ArtifactCorrupt, StoreUnavailable, CacheFull.
        """
        if not _VERSION_ID.fullmatch(version_id):
            raise UnknownVersion(version_id)
        try:
            digest = digest or self._remembered(version_id) or await self._digest_of(version_id)
            async with self._changing:
                path = await self._copy(digest)
            self._remember(version_id, digest)
        except AdaptersError:
            raise
        except Exception as error:  # the disk's, and each kind of store has errors of its own
            raise StoreUnavailable(f"version {version_id}", error) from error
        return path

    def forget(self, version_id: str) -> None:
        """The engine does not serve this version any more; its files may go when their turn comes."""
        if _VERSION_ID.fullmatch(version_id):
            (self._names / version_id).unlink(missing_ok=True)

    def _remember(self, version_id: str, digest: str) -> None:
        self._names.mkdir(parents=True, exist_ok=True)
        whole = self._names / f".{version_id}"
        whole.write_text(digest)
        whole.replace(self._names / version_id)

    def _remembered(self, version_id: str) -> str | None:
        name = self._names / version_id
        return name.read_text() if name.is_file() else None

    async def _copy(self, digest: str) -> Path:
        target = self._artifacts / hex_of(digest)
        if not target.is_dir():
            size = (await self._store.files(digest)).size_bytes
            await asyncio.to_thread(self._make_room, digest, size, self._busy())
        path = await self._store.fetch(digest, self._artifacts)
        os.utime(path)
        self._given[path.name] = time.monotonic()
        return path

    def _busy(self) -> set[str]:
        recent = time.monotonic() - self._grace_s
        return {*self.in_use(), *(name for name, at in self._given.items() if at > recent)}

    def _make_room(self, digest: str, wanted: int, busy: Collection[str]) -> None:
        """Raises CacheFull, and removes nothing, when what is not busy would not be enough."""
        self._artifacts.mkdir(parents=True, exist_ok=True)
        held = sorted(self._artifacts.iterdir(), key=lambda path: path.stat().st_mtime)
        sizes = {path: _size(path) for path in held}
        idle = [path for path in held if path.name not in busy]
        excess = sum(sizes.values()) + wanted - self._limit
        if excess > sum(sizes[path] for path in idle):
            raise CacheFull(digest, wanted, self._limit)
        for path in idle:
            if excess <= 0:
                return
            shutil.rmtree(path)
            self._given.pop(path.name, None)
            excess -= sizes[path]


def _size(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
