"""What a tenant's webhook hears of versions, over a record."""

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from adapters.errors import ConflictError
from adapters.types import RolloutKind, VersionStatus
from gateway.policy import Policy
from gateway.tables import webhook_calls
from tests.unit.gateway.rollout_world import STEPS, World, canary

HOOK = "https://example.com/hook"


async def told(world: World) -> list[dict[str, Any]]:
    async with world.sql.connect() as connection:
        return list((await connection.execute(sa.select(webhook_calls.c.body))).scalars())


async def listening(world: World, **rules: Any) -> None:
    policy = Policy.model_validate({"rollout": {"webhook": HOOK, **rules}})
    await world.tenants.put_policy("ten_a", policy, "test")


@pytest.mark.parametrize("rules", [{}, STEPS["rollout"]])
async def test_a_version_that_is_rejected_on_its_way_is_told_of_once(
    world: World, rules: dict[str, Any]
) -> None:
    await listening(world, **rules)
    version = await world.approved()
    world.engine.inert.add(version.id)
    for _ in range(2):
        await world.rollouts.run_once()
    (call,) = await told(world)
    assert (call["type"], call["data"]["version"]) == ("version.rejected", "default@v1")
    assert "exactly like the base model" in call["data"]["reason"]


async def test_a_version_that_a_person_rejected_meanwhile_is_not_told_of(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await listening(world)
    version, load = await world.approved(), world.engine.load
    world.engine.inert.add(version.id)

    async def meanwhile(version_id: str, path: Path) -> None:
        await load(version_id, path)
        await world.registry.set_status(version.id, VersionStatus.REJECTED, "ada", "too blunt")

    monkeypatch.setattr(world.engine, "load", meanwhile)
    await world.rollouts.run_once()
    assert (await world.status(version), await told(world)) == (VersionStatus.REJECTED, [])


async def test_a_rollback_is_told_of_with_both_versions(world: World) -> None:
    await listening(world)
    for _ in range(2):
        await world.approved()
        await world.rollouts.run_once()
    for _ in range(2):
        await world.canaries.swapper.rollback("ten_a", "default", "ada")
    first, second = await told(world)
    assert (first["type"], first["data"]["actor"]) == ("version.rolled_back", "ada")
    assert [(each["data"]["version"], each["data"]["to"]) for each in (first, second)] == [
        ("default@v2", "default@v1"),
        ("default@v1", "base"),
    ]


async def test_a_rollback_that_did_not_happen_is_not_told(world: World) -> None:
    await listening(world)
    await world.approved()
    await world.rollouts.run_once()
    with pytest.raises(ConflictError):
        await world.canaries.swapper.rollback("ten_a", "default", "ada", 7)
    assert await told(world) == []


async def test_what_an_open_rollout_tells_is_not_told_twice(world: World) -> None:
    _, rollout = await canary(world, webhook=HOOK)
    await world.canaries.promote(rollout, "by hand", "test", one_step=False)
    await world.canaries.swapper.rollback("ten_a", "default", "ada")
    await world.canaries.run_once()
    assert [each["type"] for each in await told(world)] == ["rollout.promoted", "rollout.rolled_back"]


@pytest.mark.parametrize("kind", list(RolloutKind))
async def test_a_rollback_is_told_of_beside_a_rollout_of_another_version(
    world: World, kind: RolloutKind
) -> None:
    await listening(world)
    stable = await world.approved()
    await world.rollouts.run_once()
    if kind is RolloutKind.CANARY:
        await canary(world, webhook=HOOK)
    else:
        await world.canaries.start_other(kind, await world.approved(), stable.id, 50, "ada", 1000)
    await world.canaries.swapper.rollback("ten_a", "default", "ada")
    (call,) = await told(world)
    assert (call["type"], call["data"]["version"]) == ("version.rolled_back", "default@v1")


async def test_without_a_webhook_nobody_is_told(world: World) -> None:
    version = await world.approved()
    await world.rollouts.run_once()
    await world.canaries.start_other(RolloutKind.SHADOW, version, None, 50, "test", 1000)
    await world.canaries.swapper.rollback("ten_a", "default", "ada")
    assert await told(world) == []
