"""What a person does while control decides, and control while a person does."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import sqlalchemy as sa

from adapters import audit
from adapters.errors import ConflictError
from adapters.rollout import Plan
from adapters.types import Alias, Check, Rollout, RolloutStatus, Version, VersionStatus
from gateway import signals
from gateway.canaries import ACTOR
from gateway.tables import webhook_calls
from tests.unit.gateway.rollout_world import APPROVED, World, answered, canary, newest

Act = Callable[[], Awaitable[Any]]


async def due(world: World, **rules: object) -> tuple[Version, Rollout]:
    """A canary that control's next look gives all of the traffic."""
    version, rollout = await canary(world, steps=[50, 100], **rules)
    await answered(world, 25, version=version.id, rollout=rollout.reference())
    await answered(world, 25, version=None, rollout=rollout.reference(), low=0.6)
    return version, rollout


def beside(monkeypatch: pytest.MonkeyPatch, world: World, act: Act, *, after: bool = False) -> None:
    """The act happens when the stable alias is about to move; after: when it has, and what served before drains."""
    move = world.registry.move_alias

    async def moving(*given: Any, **more: Any) -> Any:
        monkeypatch.setattr(world.registry, "move_alias", move)
        if after:
            moved = await move(*given, **more)
            await act()
            return moved
        await act()
        return await move(*given, **more)

    monkeypatch.setattr(world.registry, "move_alias", moving)


async def test_what_a_person_aborts_while_control_promotes_it_does_not_go_live(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    version, rollout = await due(world)
    beside(monkeypatch, world, lambda: world.canaries.abort(rollout, "no", "ada"))
    await world.canaries.run_once()
    assert ((await newest(world)).status, await world.stable()) == (RolloutStatus.ABORTED, None)
    assert await world.status(version) is VersionStatus.ROLLED_BACK


async def test_what_a_person_aborts_when_it_has_just_gone_live_goes_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    version, rollout = await due(world)
    beside(monkeypatch, world, lambda: world.canaries.abort(rollout, "no", "ada"), after=True)
    await world.canaries.run_once()
    assert ((await newest(world)).status, await world.stable()) == (RolloutStatus.ABORTED, None)
    assert await world.status(version) is VersionStatus.ROLLED_BACK


async def test_what_goes_live_while_a_person_aborts_it_goes_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the abort's look at the alias and its write."""
    version, rollout = await due(world)
    moves, end = world.canaries.moves, world.canaries.moves.end

    async def late(*given: Any, **more: Any) -> Any:
        monkeypatch.setattr(moves, "end", end)
        await world.registry.move_alias("ten_a", "default", Alias.STABLE, version.id, ACTOR)
        return await end(*given, **more)

    monkeypatch.setattr(moves, "end", late)
    await world.canaries.abort(rollout, "no", "ada")
    assert ((await newest(world)).status, await world.stable()) == (RolloutStatus.ABORTED, None)


async def test_what_a_person_pauses_while_control_promotes_it_stays(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    version, rollout = await due(world)
    beside(monkeypatch, world, lambda: world.canaries.pause(rollout, "lunch", "ada"))
    await world.canaries.run_once()
    paused = await newest(world)
    assert (paused.status, paused.shares, await world.stable()) == (RolloutStatus.PAUSED, [50], None)
    await world.canaries.resume(paused, "ada")
    await world.canaries.run_once()
    assert await world.stable() == version.id


async def test_what_has_just_gone_live_cannot_be_paused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    version, rollout = await due(world)

    async def pause() -> None:
        with pytest.raises(ConflictError, match="just taken over"):
            await world.canaries.pause(rollout, "lunch", "ada")

    beside(monkeypatch, world, pause, after=True)
    await world.canaries.run_once()
    assert ((await newest(world)).status, await world.stable()) == (RolloutStatus.WATCHING, version.id)


async def test_what_control_takes_back_while_a_person_promotes_it_does_not_go_live(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    version, rollout = await due(world)
    await answered(world, 9, version=version.id, rollout=rollout.reference(), flaw="error", low=0.1)
    beside(monkeypatch, world, world.canaries.run_once)
    with pytest.raises(ConflictError):
        await world.canaries.promote(rollout, "by hand", "ada", one_step=False)
    assert ((await newest(world)).status, await world.stable()) == (RolloutStatus.ROLLED_BACK, None)


async def test_a_canary_does_not_begin_beside_what_a_person_has_just_made_stable(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    version, other = await world.approved(), await world.approved()
    read = signals.traffic

    async def meanwhile(*given: Any) -> int:
        await world.canaries.swapper.swap("ten_a", "default", other.id, "ada")
        return await read(*given)

    monkeypatch.setattr(signals, "traffic", meanwhile)
    with pytest.raises(ConflictError, match="moved meanwhile"):
        await world.canaries.start(version, Plan((50, 100)), "ada")
    assert (await world.status(version), await world.stable()) == (APPROVED, other.id)


async def test_a_canary_that_fails_its_checks_when_it_shall_take_over_is_rejected(world: World) -> None:
    version, _ = await due(world, webhook="https://example.com/hook")
    world.checks.append(Check("Where are you?", "Leeds"))
    await world.canaries.run_once()
    ended = await newest(world)
    assert (ended.status, ended.open, await world.stable()) == (RolloutStatus.ROLLED_BACK, False, None)
    assert await world.status(version) is VersionStatus.REJECTED
    async with world.sql.connect() as connection:
        (call,) = (await connection.execute(sa.select(webhook_calls))).all()
    assert call.body["type"] == "rollout.rolled_back"
    assert "Leeds" in call.body["data"]["reason"]
    (act,) = [each.act for each in await audit.entries(world.sql) if each.act.action == "version.rejected"]
    assert (act.actor, act.subject) == ("system:rollout", version.id)
    assert act.detail == {"version": version.label, "reason": ended.reason}


async def test_a_canary_that_got_all_of_the_traffic_and_was_paused_there_still_goes_back(
    world: World,
) -> None:
    version, rollout = await canary(world, min_requests=10**6)
    assert rollout.shares == [100]
    await world.canaries.pause(rollout, "lunch", "ada")
    await world.canaries.run_once()
    assert (await newest(world)).status is RolloutStatus.PAUSED
    await answered(world, 40, version=version.id, rollout=rollout.reference(), flaw="error")
    await world.canaries.run_once()
    assert ((await newest(world)).status, await world.stable()) == (RolloutStatus.ROLLED_BACK, None)
    assert await world.status(version) is VersionStatus.ROLLED_BACK
