import asyncio
import contextlib
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters import audit, changes
from adapters.audit import Act
from adapters.errors import ArtifactMissing
from adapters.registry import Registry
from adapters.retention import Keep, mark
from adapters.types import Lineage, VersionStatus
from training.errors import LeaseLost, RunConflict, RunNotFound
from training.runs import RunStore
from training.tables import runs
from training.types import MERGE, RunPhase, RunStatus


async def test_an_adapter_has_one_run_at_a_time(database: AsyncEngine) -> None:
    store = RunStore(database)
    await store.create("ten_1", "default", "manual")
    with pytest.raises(RunConflict):
        await store.create("ten_1", "default", "count")
    await store.create("ten_2", "default", "count")


async def test_the_database_itself_refuses_a_second_active_run(database: AsyncEngine) -> None:
    store = RunStore(database)
    first = await store.create("ten_1", "default", "manual")
    await store.claim("learner")
    await store.finish(first.id, "learner", RunStatus.SUCCEEDED)
    second = await store.create("ten_1", "default", "manual")
    async with database.connect() as connection:
        with pytest.raises(IntegrityError):
            await connection.execute(
                sa.update(runs).where(runs.c.id == first.id).values(status=RunStatus.RUNNING.value)
            )
    assert (await store.get(second.id)).status is RunStatus.QUEUED


async def test_tenants_take_turns(database: AsyncEngine) -> None:
    store = RunStore(database)
    for adapter in ("a", "b", "c"):
        await store.create("ten_greedy", adapter, "manual")
    for tenant in ("ten_2", "ten_3"):
        await store.create(tenant, "default", "manual")
    order = [run.tenant_id for _ in range(5) if (run := await store.claim("learner"))]
    assert order == ["ten_greedy", "ten_2", "ten_3", "ten_greedy", "ten_greedy"]


async def test_a_run_that_met_a_fault_waits_its_time_and_says_why(database: AsyncEngine) -> None:
    store = RunStore(database)
    run = await store.create("ten_1", "default", "manual")
    await store.claim("learner")
    await store.release(run.id, "learner", "DiskFull: no space", retry_s=60)
    waiting = await store.get(run.id)
    assert (waiting.status, waiting.error, waiting.attempts) == (RunStatus.QUEUED, "DiskFull: no space", 1)
    assert waiting.not_before and timedelta(seconds=50) < waiting.not_before - datetime.now(UTC)
    assert await store.claim("learner") is None
    assert [event.kind for event in await store.events(run.id)][-1] == "retry"


async def test_a_run_that_is_taken_up_again_shows_no_old_fault(database: AsyncEngine) -> None:
    store = RunStore(database)
    run = await store.create("ten_1", "default", "manual")
    await store.claim("learner")
    await store.release(run.id, "learner", "DiskFull: no space", retry_s=-1)
    taken = await store.claim("learner")
    assert taken is not None and (taken.error, taken.not_before, taken.attempts) == (None, None, 1)


async def test_only_a_learner_that_died_counts_as_an_attempt(database: AsyncEngine) -> None:
    store = RunStore(database)
    run = await store.create("ten_1", "default", "manual")
    await store.claim("one")
    await store.release(run.id, "one")
    await store.claim("two", lease_s=-1)
    taken = await store.claim("three")
    assert taken is not None and taken.attempts == 1


async def test_a_cancelled_run_is_nobodys_whether_its_learner_lives_or_died_a_moment_ago(
    database: AsyncEngine,
) -> None:
    store = RunStore(database)
    run = await store.create("ten_1", "default", "manual")
    await store.claim("learner", lease_s=10)
    assert (await store.cancel(run.id, "key_1")).status is RunStatus.CANCELLED
    assert await store.claim("another") is None
    for change in (
        store.update(run.id, "learner", phase=RunPhase.GATE),
        store.finish(run.id, "learner", RunStatus.SUCCEEDED),
    ):
        with pytest.raises(LeaseLost):
            await change
    await store.release(run.id, "learner")
    assert (await store.get(run.id)).status is RunStatus.CANCELLED


async def test_a_version_is_approved_with_its_runs_end_or_not_at_all(database: AsyncEngine) -> None:
    store, registry = RunStore(database), Registry(database)
    await registry.ensure_adapter("ten_1", "default", "sha256:base")
    standing: dict[RunStatus, VersionStatus] = {}
    for cancelled in (True, False):
        run = await store.create("ten_1", "default", "manual")
        await store.claim("learner")
        lineage = Lineage("sha256:base", run_id=run.id)
        status = VersionStatus.GATING
        version = await registry.register("ten_1", "default", "sha256:a", lineage, {}, status)
        if cancelled:
            await store.cancel(run.id, "key_1")
        with contextlib.suppress(LeaseLost):
            await store.finish(run.id, "learner", RunStatus.SUCCEEDED, approves=version.id)
        standing[(await store.get(run.id)).status] = (await registry.version(version.id)).status
    assert standing == {
        RunStatus.CANCELLED: VersionStatus.GATING,
        RunStatus.SUCCEEDED: VersionStatus.APPROVED,
    }


async def test_one_learner_gets_a_run(database: AsyncEngine) -> None:
    store = RunStore(database)
    await store.create("ten_1", "default", "manual")
    claimed = await asyncio.gather(*(store.claim(f"learner-{n}") for n in range(4)))
    assert sum(run is not None for run in claimed) == 1


async def test_the_oldest_run_is_claimed_first(database: AsyncEngine) -> None:
    store = RunStore(database)
    first = await store.create("ten_1", "default", "manual")
    await store.create("ten_2", "default", "manual")
    claimed = await store.claim("learner")
    assert claimed is not None and claimed.id == first.id and claimed.status is RunStatus.RUNNING


async def test_a_run_whose_lease_ran_out_is_taken_over(database: AsyncEngine) -> None:
    store = RunStore(database)
    run = await store.create("ten_1", "default", "manual")
    await store.claim("dead", lease_s=-1)
    taken = await store.claim("alive")
    assert taken is not None and taken.id == run.id
    with pytest.raises(LeaseLost):
        await store.update(run.id, "dead", phase=RunPhase.GATE)


async def test_a_leased_run_is_left_alone(database: AsyncEngine) -> None:
    store = RunStore(database)
    await store.create("ten_1", "default", "manual")
    await store.claim("one")
    assert await store.claim("two") is None


async def test_a_waiting_run_is_cancelled_at_once(database: AsyncEngine) -> None:
    store = RunStore(database)
    run = await store.create("ten_1", "default", "manual")
    assert (await store.cancel(run.id, "key_1")).status is RunStatus.CANCELLED
    assert await store.claim("learner") is None


async def test_a_learner_hears_with_its_heartbeat_that_its_run_was_cancelled(database: AsyncEngine) -> None:
    store = RunStore(database)
    run = await store.create("ten_1", "default", "manual")
    await store.claim("learner")
    assert not await store.renew(run.id, "learner")
    await store.cancel(run.id, "key_1")
    assert await store.renew(run.id, "learner")


async def test_a_finished_run_cannot_be_cancelled(database: AsyncEngine) -> None:
    store = RunStore(database)
    run = await store.create("ten_1", "default", "manual")
    await store.claim("learner")
    await store.finish(run.id, "learner", RunStatus.SUCCEEDED)
    with pytest.raises(RunConflict):
        await store.cancel(run.id, "key_1")


async def test_a_person_approves_what_waits_for_approval_once(database: AsyncEngine) -> None:
    store = RunStore(database)
    run = await store.create("ten_1", "default", "manual")
    await store.claim("learner")
    await store.finish(run.id, "learner", RunStatus.AWAITING_APPROVAL)
    assert (await store.approve(run.id, "admin")).status is RunStatus.SUCCEEDED
    with pytest.raises(RunConflict):
        await store.reject(run.id, "admin")


async def test_a_released_run_waits_again(database: AsyncEngine) -> None:
    store = RunStore(database)
    run = await store.create("ten_1", "default", "manual")
    await store.claim("one")
    await store.release(run.id, "one")
    taken = await store.claim("two")
    assert taken is not None and taken.id == run.id


async def test_a_run_of_another_tenant_is_not_found(database: AsyncEngine) -> None:
    store = RunStore(database)
    run = await store.create("ten_1", "default", "manual")
    with pytest.raises(RunNotFound):
        await store.get(run.id, "ten_2")


async def test_events_are_read_from_where_one_stopped(database: AsyncEngine) -> None:
    store = RunStore(database)
    run = await store.create("ten_1", "default", "manual")
    await store.event(run.id, "progress", {"step": 1})
    first, second = await store.events(run.id)
    assert (first.kind, second.data) == ("queued", {"step": 1})
    assert [event.id for event in await store.events(run.id, after=first.id)] == [second.id]


async def test_pages_of_runs_go_from_new_to_old(database: AsyncEngine) -> None:
    store = RunStore(database)
    ids = [(await store.create(f"ten_{n}", "default", "manual")).id for n in range(3)]
    (newest,) = await store.list(limit=1)
    assert [newest.id, *(run.id for run in await store.list(after=newest.id))] == ids[::-1]


async def test_what_a_version_learned_is_kept_once(database: AsyncEngine) -> None:
    store = RunStore(database)
    await store.add_learned("ver_1", ["fb_1", "fb_2"])
    await store.add_learned("ver_1", ["fb_2"])
    assert await store.learned(["ver_1", "ver_2"]) == {
        "ver_1": frozenset({"fb_1", "fb_2"}),
        "ver_2": frozenset(),
    }


async def test_only_known_fields_of_a_run_change(database: AsyncEngine) -> None:
    store = RunStore(database)
    run = await store.create("ten_1", "default", "manual")
    await store.claim("learner")
    with pytest.raises(ValueError, match="tenant_id"):
        await store.update(run.id, "learner", tenant_id="ten_2")


async def test_a_learner_takes_only_runs_of_adapters_of_its_own_base_model(database: AsyncEngine) -> None:
    await Registry(database).ensure_adapter("ten_1", "big", "sha256:large")
    await Registry(database).ensure_adapter("ten_1", "small", "sha256:base")
    store = RunStore(database)
    for adapter in ("big", "small"):
        await store.create("ten_1", adapter, "manual")
    first = await store.claim("one", base_digest="sha256:base")
    assert first is not None and first.adapter == "small"
    assert await store.claim("one", base_digest="sha256:base") is None
    second = await store.claim("two", base_digest="sha256:large")
    assert second is not None and second.adapter == "big"


async def test_what_people_do_with_runs_is_audited(database: AsyncEngine) -> None:
    store = RunStore(database)
    run = await store.create("ten_1", "default", "manual", {"rank": 4}, "ada")
    await store.claim("learner")
    await store.finish(run.id, "learner", RunStatus.AWAITING_APPROVAL)
    await store.reject(run.id, "grace", "too blunt")
    rejected, created = [entry.act for entry in await audit.entries(database)]
    detail = {"adapter": "default", "trigger": "manual", "recipe": {"rank": 4}}
    assert created == Act("ada", "run.created", run.id, "ten_1", detail)
    assert rejected == Act(
        "grace", "run.rejected", run.id, "ten_1", {"adapter": "default", "reason": "too blunt"}
    )


async def test_a_refused_judgement_or_cancel_leaves_no_entry(database: AsyncEngine) -> None:
    store = RunStore(database)
    run = await store.create("ten_1", "default", "count")
    with pytest.raises(RunConflict):
        await store.approve(run.id, "ada")
    await store.cancel(run.id, "ada")
    with pytest.raises(RunConflict):
        await store.cancel(run.id, "grace")
    acts = [(entry.act.actor, entry.act.action) for entry in await audit.entries(database)]
    assert acts == [("ada", "run.cancelled"), ("system:triggers", "run.created")]


async def test_a_merge_of_a_version_that_is_being_pruned_is_not_queued(database: AsyncEngine) -> None:
    registry, store = Registry(database), RunStore(database)
    await registry.ensure_adapter("ten_1", "default", "sha256:base")
    made = [
        await registry.register("ten_1", "default", f"sha256:{n}", Lineage("sha256:base"), {}) for n in "ab"
    ]
    await registry.set_status(made[0].id, VersionStatus.REJECTED)
    plan = {MERGE: {"sources": [{"version_id": each.id, "weight": 1.0} for each in made]}}
    async with database.begin() as connection:
        await changes.append(connection, "ten_1")
        await mark(connection, "ten_1", "default", Keep(0, 0.0), {}, "ada")
        queued = asyncio.create_task(store.create("ten_1", "default", "merge", plan))
        assert not (await asyncio.wait([queued], timeout=0.3))[0]
    with pytest.raises(ArtifactMissing):
        await queued
    assert await store.list() == []
