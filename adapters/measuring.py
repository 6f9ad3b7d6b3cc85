"""Versions' factors out of the store, a few at a time, without leaving a copy of their files behind."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

from adapters.artifacts import ArtifactStore
from adapters.base import BaseModel
from adapters.drift import Factors, read_factors
from adapters.rooms import room
from adapters.types import Version

AT_ONCE = 2
"""Comparisons that may have versions on the disk, and in memory, at the same time; others wait."""
FactorsOf = Callable[[Version, BaseModel], Awaitable[Mapping[str, Factors]]]


class Measurer:
    """scratch: where the files are while they are read."""

    def __init__(self, store: ArtifactStore, scratch: Path) -> None:
        self._store = store
        self._scratch = scratch
        self._turns = asyncio.Semaphore(AT_ONCE)

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[FactorsOf]:
        """What reads the layers that a version changes, for one comparison: whoever makes it has two versions in memory
        at most, and none beyond the block. Raises ArtifactMissing, ArtifactCorrupt, InvalidAdapter when asked."""
        async with self._turns:
            yield self._factors

    async def _factors(self, version: Version, base: BaseModel) -> Mapping[str, Factors]:
        with room(self._scratch) as place:
            path = await self._store.fetch(version.artifact_digest, place)
            return await asyncio.to_thread(read_factors, path, base)
