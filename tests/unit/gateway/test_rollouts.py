"""Approved versions going live."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.artifacts import ArtifactStore
from adapters.errors import EngineRefused
from adapters.registry import Registry
from adapters.swap import Swapper
from adapters.tables import metadata as adapters
from adapters.testing import FakeEngine, FakeWorkers
from adapters.types import Alias, Lineage, Version, VersionStatus
from gateway import audit
from gateway.canaries import Canaries
from gateway.database import connect
from gateway.rollout_moves import RolloutMoves
from gateway.rollouts import Rollouts, hopeless, newest_of_each
from gateway.tables import metadata as gateway
from gateway.tables import tenants as tenant_table
from gateway.tenants import TenantStore
from training.tables import metadata as training

APPROVED = VersionStatus.APPROVED


@dataclass
class World:
    registry: Registry
    engine: FakeEngine
    rollouts: Rollouts
    canaries: Canaries
    tenants: TenantStore
    sql: AsyncEngine
    artifact: str
    actions: list[str] = field(default_factory=list)

    async def approved(self) -> Version:
        made = await self.registry.register("ten_a", "default", self.artifact, Lineage("sha256:b"), {})
        await self.registry.set_status(made.id, APPROVED)
        return made

    async def status(self, version: Version) -> VersionStatus:
        return (await self.registry.version(version.id)).status

    async def stable(self) -> str | None:
        return (await self.registry.alias("ten_a", "default", Alias.STABLE))[0]


@pytest.fixture
async def world(tmp_path: Path):  # type: ignore[no-untyped-def]
    sql = connect(f"sqlite+aiosqlite:///{tmp_path / 'graft.db'}")
    async with sql.begin() as connection:
        for metadata in (adapters, gateway, training):
            await connection.run_sync(metadata.create_all)
        await connection.execute(
            sa.insert(tenant_table).values(
                id="ten_a",
                external_id="a",
                name="a",
                policy={},
                policy_revision=1,
                created_at=datetime.now(UTC),
            )
        )
    registry, store, engine = Registry(sql), ArtifactStore((tmp_path / "store").as_uri()), FakeEngine()
    await registry.ensure_adapter("ten_a", "default", "sha256:b")
    files = tmp_path / "files"
    files.mkdir()
    (files / "adapter_model.safetensors").write_bytes(b"weights")
    artifact = await store.put(files)
    workers, tenants = FakeWorkers(), TenantStore(sql)
    swapper = Swapper(registry, store, [engine], workers, tmp_path / "cache")
    canaries = Canaries(sql, registry, swapper, workers, RolloutMoves(sql, tenants))
    rollouts = Rollouts(registry, swapper, sql, tenants, canaries)
    yield World(registry, engine, rollouts, canaries, tenants, sql, artifact.digest)
    await sql.dispose()


async def test_an_approved_version_goes_live(world: World) -> None:
    version = await world.approved()
    await world.rollouts.run_once()
    assert await world.stable() == version.id


async def test_of_two_approved_versions_the_newer_goes_live(world: World) -> None:
    older, newer = await world.approved(), await world.approved()
    await world.rollouts.run_once()
    assert await world.stable() == newer.id
    assert await world.status(older) is VersionStatus.RETIRED


async def test_an_engine_that_is_away_only_delays(world: World) -> None:
    version = await world.approved()
    world.engine.down = True
    await world.rollouts.run_once()
    assert await world.status(version) is APPROVED
    world.engine.down = False
    await world.rollouts.run_once()
    assert await world.stable() == version.id


async def test_a_version_that_does_nothing_is_rejected_and_the_old_one_stays(world: World) -> None:
    old = await world.approved()
    await world.rollouts.run_once()
    inert = await world.approved()
    world.engine.inert.add(inert.id)
    await world.rollouts.run_once()
    assert await world.stable() == old.id
    assert await world.status(inert) is VersionStatus.REJECTED


async def test_nothing_approved_means_nothing_done(world: World) -> None:
    assert await world.rollouts.run_once() == []


async def test_going_live_is_audited(world: World, tmp_path: Path) -> None:
    version = await world.approved()
    await world.rollouts.run_once()
    sql = connect(f"sqlite+aiosqlite:///{tmp_path / 'graft.db'}")
    (entry,) = await audit.entries(sql)
    await sql.dispose()
    assert (entry.act.action, entry.act.subject, entry.act.tenant_id) == ("alias.moved", version.id, "ten_a")


@pytest.mark.parametrize(("status", "final"), [(500, True), (400, True), (401, False), (503, False)])
def test_an_engine_refusing_us_is_not_an_engine_refusing_the_adapter(status: int, final: bool) -> None:
    assert hopeless(EngineRefused("http://e", status, "no")) is final


def test_adapters_do_not_stand_in_each_others_way() -> None:
    def version(number: int, tenant: str) -> Version:
        return Version(
            f"v{number}{tenant}",
            tenant,
            "default",
            number,
            "d",
            Lineage("b"),
            {},
            APPROVED,
            datetime.now(UTC),
        )

    approved = [version(1, "a"), version(3, "b"), version(2, "a")]
    live, pointless = newest_of_each(approved)
    assert {each.id for each in live} == {"v2a", "v3b"}
    assert [each.id for each in pointless] == ["v1a"]
