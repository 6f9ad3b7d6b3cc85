"""Versions' factors out of the store, a few at a time, without leaving a copy of their files behind."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from adapters.artifacts import ArtifactStore
from adapters.base import BaseModel
from adapters.drift import Factors, read_factors
from adapters.rooms import room
from adapters.types import Version

AT_ONCE = 2
"""Versions that may be on the disk, and in memory, at the same time; others wait."""


class Measurer:
    """scratch: where the files are while they are read."""

    def __init__(self, store: ArtifactStore, scratch: Path) -> None:
        self._store = store
        self._scratch = scratch
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def factors(self, version: Version, base: BaseModel) -> Mapping[str, Factors]:
        """The layers that a version changes. Raises ArtifactMissing, ArtifactCorrupt, InvalidAdapter."""
        async with self._turns:
            with room(self._scratch) as place:
                path = await self._store.fetch(version.artifact_digest, place)
                return await asyncio.to_thread(read_factors, path, base)
