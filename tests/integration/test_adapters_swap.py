"""Swaps in a real vLLM, under requests, with the record in SQLite and artifacts on disk."""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.artifacts import ArtifactStore
from adapters.base import BaseModel
from adapters.holds import Holds
from adapters.reconcile import Reconciler
from adapters.registry import Registry
from adapters.swap import Swapper
from adapters.testing import FakeWorkers
from adapters.types import Alias, AliasMove, Lineage, Version, VersionStatus
from adapters.vllm import VllmEngine
from adapters.wants import Wants
from tests.integration.random_adapters import write_adapter

pytestmark = pytest.mark.slow

ACME = ("ten_acme", "default")


class OneWorker(FakeWorkers):
    """A gateway worker: routes by what it has applied, and leases what it routes to."""

    def __init__(self, registry: Registry) -> None:
        super().__init__(1)
        self._registry = registry
        self._route = ""

    async def announce(self, change: int, move: AliasMove | None = None) -> None:
        self._route = (await self._registry.alias(*ACME, Alias.STABLE))[0] or ""
        await super().announce(change, move)

    @contextlib.contextmanager
    def lease(self) -> Iterator[str]:
        version_id = self._route
        self.held[version_id] += 1
        yield version_id
        self.held[version_id] -= 1


class House:
    """The adapters package put together around one engine, as the control process does it."""

    def __init__(self, database: AsyncEngine, engine: VllmEngine, base: BaseModel, directory: Path) -> None:
        self.registry = registry = Registry(database)
        self.engine = engine
        self._base = base
        self._directory = directory
        self._store = ArtifactStore((directory / "artifacts").as_uri())
        self.worker = OneWorker(registry)
        holds, cache = Holds(), directory / "cache"
        self.swapper = Swapper(registry, self._store, [engine], self.worker, cache, holds)
        self.wants = Wants(database)
        self.reconciler = Reconciler(
            registry, self.wants, self._store, [engine], self.worker, holds, cache, capacity=16
        )

    async def approved(self, seed: int) -> Version:
        """A version of random weights, ready to go live."""
        files = write_adapter(self._directory / f"adapter-{seed}", self._base, seed)
        artifact = await self._store.put(files)
        version = await self.registry.register(*ACME, artifact.digest, Lineage(self._base.digest), {})
        await self.registry.set_status(version.id, VersionStatus.APPROVED)
        return version


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
async def house(database: AsyncEngine, vllm: VllmEngine, base: BaseModel, tmp_path: Path) -> House:
    await Registry(database).ensure_adapter(*ACME, base.digest)
    return House(database, vllm, base, tmp_path)


async def test_a_swap_a_second_one_and_a_rollback_leave_only_what_serves(house: House) -> None:
    one, two = await house.approved(1), await house.approved(2)
    await house.swapper.swap(*ACME, one.id, "test")
    result = await house.swapper.swap(*ACME, two.id, "test")
    assert (result.unloaded, await house.engine.resident()) == ((one.id,), {two.id})
    back = await house.swapper.rollback(*ACME, "test")
    assert (back.version_id, await house.engine.resident()) == (one.id, {one.id})
    await house.swapper.rollback(*ACME, "test")
    assert await house.engine.resident() == frozenset()


async def test_requests_go_on_while_versions_are_swapped(house: House) -> None:
    """No request is refused, although every swap unloads the version before."""
    versions = [await house.approved(seed) for seed in (1, 2, 3)]
    await house.swapper.swap(*ACME, versions[0].id, "test")
    ended = asyncio.Event()
    served: list[str] = []

    async def client() -> None:
        while not ended.is_set():
            with house.worker.lease() as version_id:
                await house.engine.chat(version_id, [{"role": "user", "content": "Hello"}], 4)
            served.append(version_id)

    asking = [asyncio.create_task(client()) for _ in range(3)]
    for version in versions[1:]:
        await seen(served, asking, len(served) + 3)
        result = await house.swapper.swap(*ACME, version.id, "test")
        assert len(result.unloaded) == 1
    await seen(served, asking, len(served) + 3)
    ended.set()
    await asyncio.gather(*asking)
    assert set(served) == {version.id for version in versions}


async def seen(served: list[str], asking: list[asyncio.Task[None]], count: int) -> None:
    """Wait until this many requests were answered; a client that failed ends the wait with its error."""
    while len(served) < count:
        done, _ = await asyncio.wait(asking, timeout=0.02, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()


async def test_the_reconciler_fills_an_engine_that_forgot_everything(house: House) -> None:
    version = await house.approved(1)
    await house.swapper.swap(*ACME, version.id, "test")
    await house.engine.unload(version.id)
    repairs = await house.reconciler.run_once()
    assert [repair.version_id for repair in repairs.loaded] == [version.id]
    assert await house.engine.resident() == {version.id}


async def test_a_pinned_version_is_pinned_in_the_engine_also_after_it_forgot_everything(house: House) -> None:
    version = await house.approved(1)
    await house.wants.pin(version.id, "test")
    for _ in range(2):
        repairs = await house.reconciler.run_once()
        assert ([repair.version_id for repair in repairs.pinned], repairs.failed) == ([version.id], [])
        assert (await house.engine.holding()).pinned == {version.id}
        assert not await house.reconciler.run_once()
        await house.engine.unload(version.id)
    await house.reconciler.run_once()
    await house.wants.unpin(version.id, "ada")
    assert [repair.version_id for repair in (await house.reconciler.run_once()).unpinned] == [version.id]
    assert (await house.engine.holding()).pinned == frozenset()
