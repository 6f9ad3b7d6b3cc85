"""Retention at work: what is needed beside the record, marks on what is not, and the end of its files."""

import asyncio
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from adapters import changes
from adapters.artifacts import ArtifactStore, hex_of
from adapters.engine import Engine
from adapters.errors import EngineError
from adapters.retention import Judged, Keep, Retention, last_trained_on, mark
from adapters.types import Version
from gateway.tenants import TenantStore
from gateway.workers import RedisWorkers
from training.retention import forget_versions, needed_by_runs

log = logging.getLogger(__name__)

ACTOR = "system:retention"
ADAPTERS_AT_ONCE = 100


class Pruner:
    """Over all tenants. Raises WorkersUnseen: what requests are in flight must be known."""

    def __init__(
        self,
        sql: AsyncEngine,
        store: ArtifactStore,
        engines: Sequence[Engine],
        workers: RedisWorkers,
        tenants: TenantStore,
        cache_dir: Path,
    ) -> None:
        self._sql = sql
        self.retention = Retention(sql)
        self._store = store
        self._engines = engines
        self._workers = workers
        self._tenants = tenants
        self._cache_dir = cache_dir
        self._after = ("", "")

    async def run_once(self) -> Sequence[Version]:
        """The next adapters in turn; returns what was marked."""
        grown = await self.retention.grown(self._after, ADAPTERS_AT_ONCE)
        self._after = grown[-1] if len(grown) == ADAPTERS_AT_ONCE else ("", "")
        marked = [version for place in grown for version in (await self.prune(*place, ACTOR))[0]]
        await self.sweep()
        return marked

    async def judged(self, tenant_id: str, adapter: str) -> Sequence[Judged]:
        """What would become of each version that still has its files, newest first."""
        async with self._sql.connect() as connection:
            busy = await needed_by_runs(connection, tenant_id)
        busy |= await self._in_flight()
        return await self.retention.judged(tenant_id, adapter, await self._keep(tenant_id), busy)

    async def prune(self, tenant_id: str, adapter: str, actor: str) -> tuple[Sequence[Version], int]:
        """Mark what may go, and forget what was of use only while it could serve, in one transaction; returns it and
        the position in the change log."""
        if all(each.kept_for for each in await self.judged(tenant_id, adapter)):
            return [], 0
        keep, busy = await self._keep(tenant_id), await self._in_flight()
        async with self._sql.begin() as connection:
            change = await changes.append(connection, tenant_id)  # first: its lock lets nobody queue a merge
            busy |= await needed_by_runs(connection, tenant_id)
            going = await mark(connection, tenant_id, adapter, keep, busy, actor)
            datasets = await last_trained_on(connection, going)
            await forget_versions(connection, [version.id for version in going], datasets)
        return going, change

    async def sweep(self) -> Sequence[str]:
        """Delete the files of what was marked a while ago; returns their digests. What the store refuses is tried again
        by the next pass. Nothing, while an engine does not say what it holds."""
        try:
            held = [name for engine in self._engines for name in await engine.resident()]
        except EngineError:
            return []
        leases = await self._workers.leases()
        held += [name for name, count in leases.items() if count]
        swept = []
        for digest in await self.retention.leftovers(held):
            try:
                async with self.retention.sweeping(digest, held) as unused:
                    if unused:
                        await self._delete(digest)
                        swept.append(digest)
            except OSError as error:
                log.warning("the files of %s stay: %s", digest, error)
        return swept

    async def _delete(self, digest: str) -> None:
        """From the store and from our own cache."""
        await self._store.delete(digest)
        copy = self._cache_dir / hex_of(digest)
        await asyncio.to_thread(shutil.rmtree, copy, ignore_errors=True)

    async def _keep(self, tenant_id: str) -> Keep:
        retention = (await self._tenants.policy(tenant_id)).policy.retention
        return Keep(retention.versions, retention.days)

    async def _in_flight(self) -> dict[str, str]:
        """Version ids that requests need now, and that reason."""
        leases = await self._workers.leases()
        return {name: "requests are in flight" for name, count in leases.items() if count}
