"""Lets go of old versions' weights: the record of every version stays, its artifact does not."""

import asyncio
import shutil
from collections.abc import Container, Sequence
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.artifacts import ArtifactStore
from adapters.engine import Engine
from adapters.records import of, stable_versions, to_version
from adapters.registry import Registry
from adapters.rules import PRUNABLE, superfluous
from adapters.tables import versions
from adapters.types import Version, VersionStatus

_kept = versions.c.status != VersionStatus.PRUNED.value


class Retention:
    """One pass per call of `run_once`. `keep`: newest versions of each adapter, and rollbacks, that stay possible.
    `holds` names versions that somebody is about to need."""

    def __init__(
        self,
        sql: AsyncEngine,
        registry: Registry,
        store: ArtifactStore,
        engines: Sequence[Engine],
        cache_dir: Path,
        keep: int,
        holds: Container[str],
    ) -> None:
        self._sql = sql
        self._registry = registry
        self._store = store
        self._engines = engines
        self._cache_dir = cache_dir
        self._keep = keep
        self._holds = holds
        self._swept = False

    async def run_once(self) -> tuple[list[Version], list[str]]:
        """The versions pruned, and digests of datasets that no other version was trained on.

        The status comes first, so that no swap to them can begin; what a crash leaves behind after it, the first pass
        of the next process removes. What an engine may still hold is left alone. Raises EngineError.
        """
        if not self._swept:
            for version in await self._registry.with_status(VersionStatus.PRUNED):
                await self._remove(version.artifact_digest)
            self._swept = True
        resident = {name for engine in self._engines for name in await engine.resident()}
        pruned: list[Version] = []
        for version in await self._superfluous():
            if version.id not in resident and version.id not in self._holds:
                await self._registry.set_status(version.id, VersionStatus.PRUNED)
                await self._remove(version.artifact_digest)
                pruned.append(version)
        digests = {version.lineage.dataset_digest for version in pruned if version.lineage.dataset_digest}
        return pruned, [
            digest for digest in digests if not await self._used(versions.c.dataset_digest == digest)
        ]

    async def _superfluous(self) -> list[Version]:
        """Of every adapter that has versions which are out of use."""
        out_of_use = versions.c.status.in_([status.value for status in PRUNABLE])
        owners = sa.select(versions.c.tenant_id, versions.c.adapter).where(out_of_use).distinct()
        found: list[Version] = []
        async with self._sql.connect() as connection:
            for owner in (await connection.execute(owners)).all():
                query = sa.select(versions).where(*of(versions, *owner), _kept)
                own = [to_version(row) for row in (await connection.execute(query)).all()]
                found += superfluous(own, await stable_versions(connection, *owner), self._keep)
        return found

    async def _remove(self, digest: str) -> None:
        """The artifact and its local copy, unless another version has the same weights."""
        if await self._used(versions.c.artifact_digest == digest):
            return
        await self._store.delete(digest)
        copy = self._cache_dir / digest.removeprefix("sha256:")
        await asyncio.to_thread(shutil.rmtree, copy, ignore_errors=True)

    async def _used(self, condition: sa.ColumnElement[bool]) -> bool:
        """Whether a version that is not pruned is so."""
        async with self._sql.connect() as connection:
            found = await connection.execute(sa.select(versions.c.id).where(condition, _kept).limit(1))
            return found.first() is not None
