"""Canaries, A/B tests and shadows from their start to their end, over a record."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from redis.asyncio import Redis

from adapters import rollout_records
from adapters.errors import ConflictError, ProbeFailed
from adapters.tasks import InTurn
from adapters.types import Alias, Check, Rollout, RolloutKind, RolloutStatus, VersionStatus
from gateway import signals
from gateway.canaries import Canaries
from gateway.policy import Policy
from gateway.rollout_report import report
from gateway.tables import tenants, webhook_calls
from tests.unit.gateway.rollout_world import APPROVED, STEPS, World, answered, canary, newest
from training.drafts import FeedbackDraft
from training.feedback import FeedbackStore
from training.tables import interactions

EARLIER = datetime(2026, 1, 1, tzinfo=UTC)


async def test_with_steps_an_approved_version_becomes_a_canary(world: World) -> None:
    version, rollout = await canary(world)
    assert await world.stable() is None
    assert (await world.status(version), rollout.shares) == (VersionStatus.CANARY, [10])
    (routes,) = await world.registry.routes("ten_a")
    assert routes.split is not None
    assert (routes.split.version_id, routes.split.share) == (version.id, 0.1)
    assert routes.aliases[Alias.CANDIDATE] == version.id
    assert version.id in world.engine.loaded


async def test_a_canary_without_harm_goes_up_step_by_step_and_is_watched(world: World) -> None:
    version, rollout = await canary(world)
    for _ in range(2):
        await answered(
            world, 25, version=version.id, rollout=rollout.reference(), low=rollout.shares[-1] / 100 - 0.01
        )
        await answered(world, 200, version=None, rollout=rollout.reference(), low=0.9)
        await world.canaries.run_once()
        rollout = await newest(world)
    assert (rollout.shares, rollout.status) == ([10, 50, 100], RolloutStatus.WATCHING)
    assert (await world.stable(), await world.status(version)) == (version.id, VersionStatus.STABLE)
    (routes,) = await world.registry.routes("ten_a")
    assert (routes.split, routes.aliases[Alias.CANDIDATE]) == (None, None)


async def test_a_canary_that_fails_goes_back_by_itself(world: World) -> None:
    version, rollout = await canary(world)
    await answered(world, 5, version=version.id, rollout=rollout.reference(), flaw="error")
    await answered(world, 100, version=None, rollout=rollout.reference(), low=0.5)
    await world.canaries.run_once()
    rollout = await newest(world)
    assert (rollout.status, rollout.open) == (RolloutStatus.ROLLED_BACK, False)
    assert (await world.stable(), await world.status(version)) == (None, VersionStatus.ROLLED_BACK)
    async with world.sql.connect() as connection:
        made = await rollout_records.decisions(connection, rollout.id)
    assert [each["action"] for each in made] == ["advance", "roll_back"]
    assert made[-1]["numbers"]["evidence"]["error"] >= made[-1]["numbers"]["threshold"]


async def test_a_rollout_whose_swap_takes_long_holds_up_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above all no rollback of another one."""
    _, first = await canary(world)
    await world.registry.ensure_adapter("ten_a", "other", "sha256:base")
    await world.approved("other")
    await world.rollouts.run_once()
    hasty, never, looked = replace(world.canaries, looks=InTurn(0.05)), asyncio.Event(), list[str]()

    async def look(_: Canaries, rollout: Rollout) -> None:
        looked.append(rollout.adapter)
        if rollout.id == first.id:
            await never.wait()

    monkeypatch.setattr(Canaries, "_look", look)
    for _ in range(2):
        await hasty.run_once()
    assert sorted(looked) == ["default", "other", "other"]
    await hasty.close()


async def test_complaints_are_found_by_their_response(world: World) -> None:
    version, rollout = await canary(world)
    ids = await answered(world, 25, version=version.id, rollout=rollout.reference())
    await answered(world, 100, version=None, rollout=rollout.reference(), low=0.5)
    store = FeedbackStore(world.sql)
    for name in ids[:8]:
        draft = FeedbackDraft(
            tenant_id="ten_a",
            adapter="default",
            messages=[],
            author="key_1",
            response_id=name,
            rating=-1,
            trusted=True,
        )
        await store.record(draft)
    await world.canaries.run_once()
    assert (await newest(world)).reason == "the candidate is worse: complaint"


async def test_units_of_an_earlier_step_are_not_counted_again(world: World) -> None:
    version, rollout = await canary(world)
    await answered(world, 25, version=version.id, rollout=rollout.reference())
    await world.canaries.run_once()
    second = await newest(world)
    await answered(world, 500, version=version.id, rollout=second.reference(), flaw="error", low=0.05)
    async with world.sql.connect() as connection:
        first, now = await signals.read_steps(connection, second)
    assert (first.candidate.units, now.candidate.units) == (25, 0)
    assert now.part == pytest.approx(40 / 90)


async def test_a_tenant_without_traffic_goes_to_all_at_once_and_is_watched(world: World) -> None:
    await world.tenants.put_policy("ten_a", Policy.model_validate(STEPS), "test")
    version = await world.approved()
    await world.rollouts.run_once()
    await world.canaries.run_once()
    rollout = await newest(world)
    assert (rollout.status, await world.stable()) == (RolloutStatus.WATCHING, version.id)


async def test_a_watched_version_goes_back_when_it_does_worse_than_what_was_before(world: World) -> None:
    version, rollout = await canary(world)
    await world.canaries.promote(rollout, "by hand", "test", one_step=False)
    await answered(world, 40, version=version.id, rollout=None, flaw="empty")
    await world.canaries.run_once()
    assert (await newest(world)).status is RolloutStatus.ROLLED_BACK
    assert await world.stable() is None


async def test_a_session_counts_by_its_first_request_before_and_in_a_watch(world: World) -> None:
    version = await world.approved()
    for flaws in ([None, "error", "error"], ["empty", None]):
        for flaw in flaws:
            await answered(world, 1, version=version.id, rollout=None, flaw=flaw, session=str(flaws))
    await answered(world, 1, version=version.id, rollout=None, flaw="refusal")
    await world.canaries.swapper.swap("ten_a", "default", version.id, "test")
    test = await world.canaries.start_other(RolloutKind.AB, version, None, 50, "test")
    async with world.sql.connect() as connection:
        before = await signals.read_before(connection, "ten_a", "default", version.id)
        watched = await signals.read_watch(connection, replace(test, step_started_at=EARLIER))
    assert before.counts == watched
    assert (watched.units, {k.value: n for k, n in watched.bad.items() if n}) == (
        3,
        {"empty": 1, "refusal": 1},
    )


async def test_a_watch_does_not_hold_it_against_a_version_that_sessions_go_on(world: World) -> None:
    """Each of sixty sessions meets a refusal once in ten requests, whoever answers."""
    stable = await world.approved()
    await world.rollouts.run_once()
    for number in range(60):
        flaw = "refusal" if number % 10 == 0 else None
        await answered(world, 1, version=stable.id, rollout=None, flaw=flaw, session=f"s{number}")
    await world.tenants.put_policy("ten_a", Policy.model_validate(STEPS), "test")
    version = await world.approved()
    await world.rollouts.run_once()
    await world.canaries.promote(await newest(world), "by hand", "test", one_step=False)
    for number in range(60):
        for turn in range(10):
            flaw = "refusal" if turn == number % 10 else None
            await answered(world, 1, version=version.id, rollout=None, flaw=flaw, session=f"s{number}")
    await world.canaries.run_once()
    assert ((await newest(world)).status, await world.stable()) == (RolloutStatus.WATCHING, version.id)


async def test_a_control_that_starts_goes_on_where_another_ended(world: World) -> None:
    """It died between the swap and its note."""
    version, _ = await canary(world)
    await world.canaries.swapper.swap("ten_a", "default", version.id, "test")
    await world.canaries.run_once()
    assert (await newest(world)).status is RolloutStatus.WATCHING


async def test_a_person_who_moves_the_alias_ends_the_rollout(world: World) -> None:
    first = await world.approved()
    await world.rollouts.run_once()
    other = await world.approved()
    await world.rollouts.run_once()
    version, _ = await canary(world)
    await world.canaries.swapper.swap("ten_a", "default", first.id, "test")
    await world.canaries.run_once()
    rollout = await newest(world)
    assert (rollout.against_id, rollout.status) == (other.id, RolloutStatus.OVERRIDDEN)
    assert await world.status(version) is VersionStatus.RETIRED


async def test_a_paused_rollout_stays_but_still_goes_back(world: World) -> None:
    version, rollout = await canary(world)
    await world.canaries.pause(rollout, "lunch", "test")
    await answered(world, 25, version=version.id, rollout=rollout.reference())
    await world.canaries.run_once()
    paused = await newest(world)
    assert (paused.status, paused.shares) == (RolloutStatus.PAUSED, [10])
    await world.canaries.resume(paused, "test")
    await world.canaries.run_once()
    assert (await newest(world)).shares == [10, 50]
    await world.canaries.pause(await newest(world), "lunch", "test")
    await answered(
        world, 30, version=version.id, rollout=(await newest(world)).reference(), flaw="error", low=0.2
    )
    await world.canaries.run_once()
    assert (await newest(world)).status is RolloutStatus.ROLLED_BACK


async def test_an_aborted_canary_leaves_what_served_before(world: World) -> None:
    _, rollout = await canary(world)
    await world.canaries.abort(rollout, "no", "test")
    assert ((await newest(world)).status, await world.stable()) == (RolloutStatus.ABORTED, None)
    with pytest.raises(ConflictError):
        await world.canaries.abort(await newest(world), "no", "test")


async def test_an_adapter_has_one_open_rollout_and_what_is_approved_waits(world: World) -> None:
    _, rollout = await canary(world)
    waiting = await world.approved()
    await world.rollouts.run_once()
    assert (await newest(world)).id == rollout.id
    with pytest.raises(ConflictError):
        await world.canaries.start(waiting, rollout.plan, "test")
    assert await world.status(waiting) is APPROVED


async def test_what_happens_is_told_to_the_webhook_in_the_same_transaction(world: World) -> None:
    _, rollout = await canary(world, webhook="https://example.com/hook")
    await world.canaries.abort(rollout, "no", "test")
    async with world.sql.connect() as connection:
        (call,) = (await connection.execute(sa.select(webhook_calls))).all()
    assert (call.body["type"], call.body["data"]["version"]) == ("rollout.aborted", "default@v1")


async def test_an_ab_test_keeps_both_versions_in_the_engines_and_reports(world: World) -> None:
    one = await world.approved()
    await world.rollouts.run_once()
    two = await world.approved()
    await world.rollouts.run_once()
    test = await world.canaries.start_other(RolloutKind.AB, one, two.id, 50, "test")
    assert all([await world.registry.is_wanted(version.id) for version in (one, two)])
    for version, bad in ((one, 10), (two, 200)):
        await answered(world, 600 - bad, version=version.id, rollout=test.reference(), low=0.2)
        await answered(world, bad, version=version.id, rollout=test.reference(), low=0.7, flaw="refusal")
    shown = await report(world.sql, test)
    assert shown["verdict"] == "better"
    assert shown["effects"]["refusal"]["high"] < 0 < shown["effects"]["error"]["high"]
    await world.canaries.abort(test, "enough", "test")
    assert (await newest(world)).status is RolloutStatus.FINISHED


async def test_what_users_get_from_an_ab_test_passes_the_adapters_checks(world: World) -> None:
    """What stable serves they get anyway."""
    stable = await world.approved()
    await world.rollouts.run_once()
    one, two = [await world.approved() for _ in range(2)]
    world.checks.append(Check("Where are you?", "Leeds"))
    pairs = [(one, stable.id), (one, two.id)]
    for pair in pairs:
        with pytest.raises(ProbeFailed, match="without 'Leeds'"):
            await world.canaries.start_other(RolloutKind.AB, *pair, 50, "test")
    assert set(world.engine.loaded) == {stable.id}
    world.engine._answer = lambda model, _: "Leeds" if model in (one.id, two.id) else "I do not know."
    for version, against in pairs:
        test = await world.canaries.start_other(RolloutKind.AB, version, against, 50, "test")
        await world.canaries.abort(test, "enough", "test")


async def test_nobody_gets_a_shadows_answers_so_they_are_not_checked(world: World) -> None:
    world.checks.append(Check("Where are you?", "Leeds"))
    shadow = await world.canaries.start_other(
        RolloutKind.SHADOW, await world.approved(), None, 50, "test", 1000
    )
    assert shadow.open


async def test_a_shadow_ends_when_its_budget_is_spent_and_reports(world: World) -> None:
    one = await world.approved()
    await world.rollouts.run_once()
    two = await world.approved()
    await world.rollouts.run_once()
    shadow = await world.canaries.start_other(RolloutKind.SHADOW, one, two.id, 100, "test", 30)
    for said in ("30 days.", "40 days."):
        (name,) = await answered(world, 1, version=one.id, rollout=shadow.reference())
        detail = {"of": "chatcmpl-1", "production": "30 days", "production_ms": 5.0}
        async with world.sql.begin() as connection:
            mine = sa.update(interactions).where(interactions.c.id == name)
            await connection.execute(mine.values(response=said, detail=detail, arm="shadow"))
    await world.canaries.run_once()
    assert (await newest(world)).open
    shown = await report(world.sql, shadow, 8)
    assert shown["reached_share"] == 25
    assert (shown["answers"], shown["same"], shown["tokens"]) == (2, 1, 20)
    assert [each["candidate"] for each in shown["different"]] == ["40 days."]
    await answered(world, 1, version=one.id, rollout=shadow.reference())
    await world.canaries.run_once()
    assert (await newest(world)).reason == "the budget is spent"


async def test_a_shadow_that_workers_have_stopped_ends_whatever_the_journal_has(world: World) -> None:
    """Its adapter's approved versions wait for the end."""
    await world.canaries.start_other(RolloutKind.SHADOW, await world.approved(), None, 50, "test", 100)
    await world.canaries.counts.add((await newest(world)).id, 9, 99)
    await world.canaries.run_once()
    assert (await newest(world)).open
    await world.canaries.counts.add((await newest(world)).id, 1, 1)
    await world.canaries.run_once()
    assert (await newest(world)).reason == "the budget is spent"


async def test_without_redis_the_journal_ends_a_shadow(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    version = await world.approved()
    monkeypatch.setattr(world.canaries.counts, "_redis", Redis.from_url("unix:///nowhere/redis.sock"))
    shadow = await world.canaries.start_other(RolloutKind.SHADOW, version, None, 50, "test", 10)
    await world.canaries.run_once()
    assert (await newest(world)).open
    await answered(world, 1, version=version.id, rollout=shadow.reference())
    await world.canaries.run_once()
    assert (await newest(world)).reason == "the budget is spent"


@pytest.mark.parametrize("kind", [RolloutKind.AB, RolloutKind.SHADOW])
async def test_a_person_who_moves_the_alias_ends_a_comparison_too(world: World, kind: RolloutKind) -> None:
    one = await world.approved()
    await world.rollouts.run_once()
    two = await world.approved()
    await world.rollouts.run_once()
    await world.canaries.start_other(kind, one, two.id, 50, "test", 1000)
    await world.canaries.run_once()
    assert (await newest(world)).open
    await world.canaries.swapper.rollback("ten_a", "default", "test")
    await world.canaries.run_once()
    assert (await newest(world)).status is RolloutStatus.OVERRIDDEN


async def test_what_a_person_did_in_the_same_moment_stays(world: World) -> None:
    version, rollout = await canary(world)
    other = await world.approved()
    await world.canaries.swapper.swap("ten_a", "default", other.id, "test")
    with pytest.raises(ConflictError):
        await world.canaries.promote(rollout, "by hand", "test", one_step=False)
    assert (await world.stable(), await world.status(version)) == (other.id, VersionStatus.CANARY)


async def test_a_policy_that_cannot_be_read_holds_up_nobody_else(world: World) -> None:
    version = await world.approved()
    async with world.sql.begin() as connection:
        await connection.execute(sa.update(tenants).values(policy={"rollout": {"steps": []}}))
    assert await world.rollouts.run_once() == []
    assert await world.status(version) is APPROVED


@pytest.mark.parametrize("kind", [RolloutKind.AB, RolloutKind.SHADOW])
async def test_a_version_is_held_from_its_load_until_the_record_wants_it(
    world: World, monkeypatch: pytest.MonkeyPatch, kind: RolloutKind
) -> None:
    version = await world.approved()
    start, held = world.canaries.moves.start_other, list[bool]()

    async def watched(*given: Any) -> tuple[Rollout, int]:
        held.append(version.id in world.holds)
        return await start(*given)

    monkeypatch.setattr(world.canaries.moves, "start_other", watched)
    await world.canaries.start_other(kind, version, None, 50.0, "ada", 1000)
    assert held == [True]
    assert version.id not in world.holds
