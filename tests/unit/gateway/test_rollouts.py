"""Approved versions going live."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from adapters import audit
from adapters.engine import Completion
from adapters.errors import EngineRefused, ProbeFailed
from adapters.rollout import Plan
from adapters.swap import SwapResult
from adapters.types import Lineage, Rollout, RolloutKind, Version, VersionStatus
from gateway.canaries import Canaries
from gateway.rollouts import Rollouts, newest_of_each
from tests.unit.gateway.rollout_world import APPROVED, World, newest


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


async def test_what_an_abort_keeps_from_users_does_not_go_live_in_the_same_moment(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = await world.approved()
    rollout = await world.canaries.start_other(RolloutKind.SHADOW, version, None, 50, "ada", 1000)

    def first(read: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def then_aborted(*given: Any) -> Any:
            found = await read(*given)
            if (await newest(world)).open:
                await world.canaries.abort(rollout, "no", "ada")
            return found

        return then_aborted

    monkeypatch.setattr(Canaries, "busy", first(Canaries.busy))
    monkeypatch.setattr(world.registry, "with_status", first(world.registry.with_status))
    await world.rollouts.run_once()
    assert (await world.status(version), await world.stable()) == (VersionStatus.RETIRED, None)
    await world.canaries.swapper.swap("ten_a", "default", version.id, "ada")


async def test_a_version_that_is_held_while_it_is_loaded_does_not_go_live(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    version, load = await world.approved(), world.engine.load

    async def meanwhile(version_id: str, path: Path) -> None:
        await load(version_id, path)
        await world.registry.set_status(version.id, VersionStatus.RETIRED, "ada", "held")

    monkeypatch.setattr(world.engine, "load", meanwhile)
    assert await world.rollouts.run_once() == []
    assert (await world.status(version), await world.stable()) == (VersionStatus.RETIRED, None)


async def test_nothing_goes_live_beside_a_rollout_that_a_person_opened_during_its_load(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, version, load = await world.approved(), await world.approved(), world.engine.load
    shadows = list[Rollout]()

    async def meanwhile(version_id: str, path: Path) -> None:
        await load(version_id, path)
        if version_id == version.id:
            start = world.canaries.start_other(RolloutKind.SHADOW, other, None, 50, "ada", 1000)
            shadows.append(await start)

    monkeypatch.setattr(world.engine, "load", meanwhile)
    assert await world.rollouts.run_once() == []
    assert (await world.status(version), await world.stable()) == (APPROVED, None)
    await world.canaries.abort(shadows[0], "enough", "ada")
    assert await world.rollouts.run_once()
    assert await world.stable() == version.id


async def test_what_fails_after_a_person_began_its_canary_is_not_rejected(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = await world.approved()

    async def failing(*given: Any, **more: Any) -> SwapResult:
        await world.canaries.start(version, Plan((50, 100)), "ada")
        raise ProbeFailed(version.id, world.engine.url, "says nothing")

    monkeypatch.setattr(world.canaries.swapper, "swap", failing)
    assert await world.rollouts.run_once() == []
    assert ((await newest(world)).open, await world.status(version)) == (True, VersionStatus.CANARY)


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


async def test_going_live_is_audited(world: World) -> None:
    version = await world.approved()
    await world.rollouts.run_once()
    act = (await audit.entries(world.sql))[0].act
    assert (act.actor, act.action, act.subject) == ("system:rollout", "alias.moved", version.id)


async def test_what_control_turns_down_is_audited_with_its_reason(world: World) -> None:
    older, inert = await world.approved(), await world.approved()
    world.engine.inert.add(inert.id)
    await world.rollouts.run_once()
    acts = {entry.act.action: entry.act for entry in await audit.entries(world.sql)}
    retired, rejected = acts["version.retired"], acts["version.rejected"]
    assert (retired.subject, retired.detail["reason"]) == (older.id, "a newer one was approved")
    assert (rejected.actor, rejected.subject) == ("system:rollout", inert.id)
    assert rejected.detail["reason"]


@pytest.mark.parametrize(
    ("status", "becomes"),
    [(500, APPROVED), (404, APPROVED), (503, APPROVED), (400, VersionStatus.REJECTED)],
)
async def test_an_engine_that_fails_at_the_probe_does_not_reject_a_good_version(
    world: World, monkeypatch: pytest.MonkeyPatch, status: int, becomes: VersionStatus
) -> None:
    version, answers = await world.approved(), world.engine.chat

    async def failing(model: str, *args: Any, **kwargs: Any) -> Completion:
        if model == version.id:
            raise EngineRefused(world.engine.url, status, "EngineCore encountered an issue")
        return await answers(model, *args, **kwargs)

    monkeypatch.setattr(world.engine, "chat", failing)
    await world.rollouts.run_once()
    assert await world.status(version) is becomes


async def test_an_engine_that_dies_of_a_load_does_not_reject_the_version(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = await world.approved()

    async def dying(version_id: str, path: Path) -> None:
        world.engine.down = True
        raise EngineRefused(world.engine.url, 500, "EngineCore encountered an issue")

    monkeypatch.setattr(world.engine, "load", dying)
    await world.rollouts.run_once()
    assert await world.status(version) is APPROVED
    monkeypatch.undo()
    world.engine.down = False
    await world.rollouts.run_once()
    assert await world.stable() == version.id


async def test_a_version_that_a_healthy_engine_refuses_is_rejected(world: World) -> None:
    version = await world.approved()
    world.engine.refused.add(version.id)
    await world.rollouts.run_once()
    assert await world.status(version) is VersionStatus.REJECTED


async def test_a_swap_that_takes_long_holds_up_no_other_adapters(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasty = Rollouts(world.registry, world.canaries.swapper, world.tenants, world.canaries, patience_s=0.05)
    await world.registry.ensure_adapter("ten_a", "other", "sha256:base")
    slow, quick = await world.approved(), await world.approved("other")
    go_on, load = asyncio.Event(), world.engine.load

    async def slowly(version_id: str, path: Path) -> None:
        if version_id == slow.id:
            await go_on.wait()
        await load(version_id, path)

    monkeypatch.setattr(world.engine, "load", slowly)
    live = {result.version_id for result in await hasty.run_once()}
    assert (live, await world.status(quick)) == ({quick.id}, VersionStatus.STABLE)
    assert not await hasty.run_once()
    go_on.set()
    async with asyncio.timeout(5):
        while not live & {slow.id}:
            live |= {result.version_id for result in await hasty.run_once()}
    assert await world.stable() == slow.id


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
