"""A record with one adapter, an engine in memory, and what rolls versions out over them."""

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters import rollout_records
from adapters.artifacts import ArtifactStore
from adapters.database import connect
from adapters.holds import Holds
from adapters.registry import Registry
from adapters.swap import Swapper
from adapters.tasks import InTurn
from adapters.testing import FakeEngine, FakeWorkers
from adapters.types import Alias, Check, Lineage, Rollout, Version, VersionStatus
from gateway.canaries import Canaries
from gateway.policy import Policy
from gateway.rollout_moves import RolloutMoves
from gateway.rollouts import Rollouts
from gateway.shadow_counts import ShadowCounts
from gateway.tables import tenants as tenant_table
from gateway.tenants import TenantStore
from gateway.version_notices import tell_rolled_back
from training.tables import interactions

APPROVED = VersionStatus.APPROVED
PATIENCE_S = 60.0
"""A pass is over when all of it has happened, however slow the disk."""


@dataclass
class World:
    registry: Registry
    engine: FakeEngine
    rollouts: Rollouts
    canaries: Canaries
    tenants: TenantStore
    sql: AsyncEngine
    artifact: str
    holds: Holds
    checks: list[Check]
    """What versions must say before users get them."""
    actions: list[str] = field(default_factory=list)

    async def approved(self, adapter: str = "default") -> Version:
        made = await self.registry.register("ten_a", adapter, self.artifact, Lineage("sha256:base"), {})
        await self.registry.set_status(made.id, APPROVED)
        return made

    async def status(self, version: Version) -> VersionStatus:
        return (await self.registry.version(version.id)).status

    async def stable(self) -> str | None:
        return (await self.registry.alias("ten_a", "default", Alias.STABLE))[0]


@asynccontextmanager
async def rollout_world(tmp_path: Path, database_url: str, redis_url: str) -> AsyncIterator[World]:
    """One tenant, `ten_a`, with the default policy."""
    redis = Redis.from_url(redis_url)
    sql = connect(database_url)
    async with sql.begin() as connection:
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
    registry, engine = Registry(sql, tell_rolled_back), FakeEngine()
    store = ArtifactStore((tmp_path / "store").as_uri())
    await registry.ensure_adapter("ten_a", "default", "sha256:base")
    files = tmp_path / "files"
    files.mkdir()
    (files / "adapter_model.safetensors").write_bytes(b"weights")
    artifact = await store.put(files)
    workers, tenants = FakeWorkers(), TenantStore(sql)
    holds, checks = Holds(), list[Check]()

    async def wanted(_tenant_id: str, _adapter: str) -> Sequence[Check]:
        return checks

    swapper = Swapper(registry, store, [engine], workers, tmp_path / "cache", holds, checks=wanted)
    counts = ShadowCounts(redis)
    looks = InTurn[None](PATIENCE_S)
    canaries = Canaries(sql, registry, swapper, workers, RolloutMoves(sql, tenants), counts, looks)
    rollouts = Rollouts(registry, swapper, tenants, canaries, PATIENCE_S)
    yield World(registry, engine, rollouts, canaries, tenants, sql, artifact.digest, holds, checks)
    await redis.aclose()
    await sql.dispose()


STEPS = {"rollout": {"steps": [10, 50, 100], "min_requests": 20, "step_seconds": 0, "watch_seconds": 3600}}


async def canary(world: World, **rules: object) -> tuple[Version, Rollout]:
    """An approved version on its way, among much traffic."""
    policy = Policy.model_validate({"rollout": {**STEPS["rollout"], **rules}})
    await world.tenants.put_policy("ten_a", policy, "test")
    await answered(world, 400, version=None, rollout=None)
    version = await world.approved()
    await world.rollouts.run_once()
    return version, await newest(world)


async def newest(world: World) -> Rollout:
    async with world.sql.connect() as connection:
        found = await rollout_records.of_adapter(connection, "ten_a", "default", 1)
    return found[0]


async def answered(
    world: World,
    count: int,
    *,
    version: str | None,
    rollout: str | None,
    flaw: str | None = None,
    low: float = 0.0,
    session: str | None = None,
    arm: str = "stable",
    latency_ms: float = 10.0,
) -> list[str]:
    """Journaled requests with draws from `low` up, each of a session of its own unless one is named; their ids."""
    ids = [f"chatcmpl-{secrets.token_hex(6)}" for _ in range(count)]
    rows = [
        {
            "id": name,
            "tenant_id": "ten_a",
            "adapter": "default",
            "version_id": version,
            "arm": arm,
            "messages": [],
            "response": "",
            "memory_ids": [],
            "passage_ids": [],
            "session_id": session,
            "usage": {"total_tokens": 10},
            "latency_ms": latency_ms,
            "status": 503 if flaw == "error" else 200,
            "at": datetime.now(UTC),
            "detail": None,
            "flaw": flaw,
            "rollout": rollout,
            "draw": low + number * 1e-6,
        }
        for number, name in enumerate(ids)
    ]
    async with world.sql.begin() as connection:
        await connection.execute(sa.insert(interactions), rows)
    return ids
