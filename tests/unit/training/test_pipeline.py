"""What a run leaves in the audit log and in the artifact store."""

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters import audit
from adapters.artifacts import ArtifactStore
from adapters.audit import Act
from adapters.base import describe_base
from adapters.errors import StoreUnavailable
from adapters.registry import Registry
from adapters.types import Lineage, Version, VersionStatus
from tests.integration.random_adapters import write_adapter
from training.errors import LeaseLost
from training.oom import OomKills
from training.pipeline import RunWork
from training.runs import RunStore
from training.trouble import RETRY_SECONDS, bury
from training.types import MERGE, LearningPolicy, Outcome, Run, RunStatus
from training.workshop import Workshop, tidy

OWNER = "learner"


class Judged:
    """A run whose version has been judged by the gate; its learner died before it said so."""

    def __init__(self, shop: Workshop, run: Run, version: Version, database: AsyncEngine) -> None:
        self.shop = shop
        self.run = run
        self.version = version
        self._database = database

    async def conclude(self, verdict: str) -> Outcome:
        report = {"verdict": verdict, "learned": []}
        await self.shop.runs.update(self.run.id, OWNER, report=report, dataset_digest="sha256:data")
        run = await self.shop.runs.get(self.run.id)
        return await RunWork(self.shop, run, OWNER, LearningPolicy(approval="auto")).work()

    async def newest(self) -> Act:
        return (await audit.entries(self._database))[0].act


@pytest.fixture
async def judged(database: AsyncEngine, tmp_path: Path) -> AsyncIterator[Judged]:
    runs, registry = RunStore(database), Registry(database)
    await runs.create("ten_1", "default", "manual")
    run = await runs.claim(OWNER)
    assert run is not None
    await registry.ensure_adapter("ten_1", "default", "sha256:base")
    lineage = Lineage("sha256:base", run_id=run.id)
    version = await registry.register("ten_1", "default", "sha256:a", lineage, {}, VersionStatus.GATING)

    async def stored(_tenant_id: str, _digest: str) -> object:
        return object()

    async def policy(_tenant_id: str) -> LearningPolicy:
        return LearningPolicy(approval="auto")

    shop = SimpleNamespace(
        runs=runs,
        registry=registry,
        engines=[],
        runs_dir=tmp_path,
        curriculum=SimpleNamespace(stored=stored),
        policy=policy,
    )
    yield Judged(cast(Any, shop), run, version, database)


async def test_what_the_gate_approves_is_audited_with_its_run(judged: Judged) -> None:
    outcome = await judged.conclude("pass")
    await judged.shop.runs.finish(judged.run.id, OWNER, outcome.status, approves=outcome.approves)
    told = {"version": "default@v1", "reason": "the gate passed"}
    actor = f"run:{judged.run.id}"
    assert await judged.newest() == Act(actor, "version.approved", judged.version.id, "ten_1", told)


async def test_a_run_that_is_cancelled_once_the_gate_has_passed_its_version_publishes_nothing(
    judged: Judged,
) -> None:
    outcome = await judged.conclude("pass")
    assert (await judged.shop.runs.cancel(judged.run.id, "key_1")).status is RunStatus.CANCELLED
    with pytest.raises(LeaseLost):
        await judged.shop.runs.finish(judged.run.id, OWNER, outcome.status, approves=outcome.approves)
    await tidy(judged.shop)
    assert (await judged.shop.registry.version(judged.version.id)).status is VersionStatus.REJECTED


async def test_what_the_gate_fails_is_audited_with_its_run(judged: Judged) -> None:
    assert (await judged.conclude("fail")).status is RunStatus.REJECTED
    told = {"version": "default@v1", "reason": "the gate failed"}
    actor = f"run:{judged.run.id}"
    assert await judged.newest() == Act(actor, "version.rejected", judged.version.id, "ten_1", told)


async def test_what_a_dead_run_left_is_rejected_in_its_name(judged: Judged) -> None:
    await judged.shop.runs.finish(judged.run.id, OWNER, RunStatus.FAILED, "no disk")
    await tidy(judged.shop)
    act = await judged.newest()
    assert (act.actor, act.action) == (f"run:{judged.run.id}", "version.rejected")
    assert act.detail["reason"] == "its run has ended"


async def test_files_that_retention_deletes_before_they_are_registered_are_stored_again(
    database: AsyncEngine, base_model: Path, tmp_path: Path
) -> None:
    """A run that makes the very artifact of a version that was pruned."""
    base, registry, runs = describe_base(base_model), Registry(database), RunStore(database)
    store = ArtifactStore((tmp_path / "store").as_uri())
    await registry.ensure_adapter("ten_1", "default", base.digest)
    sources = []
    for number in range(2):
        artifact = await store.put(write_adapter(tmp_path / str(number), base, number, rank=4))
        made = await registry.register("ten_1", "default", artifact.digest, Lineage(base.digest), {})
        sources.append({"version_id": made.id, "weight": 1.0})
    plan = {"sources": sources, "method": "linear", "density": 1.0, "rank": 8, "seed": 0}
    await runs.create("ten_1", "default", "merge", {MERGE: plan})
    run = await runs.claim(OWNER)
    assert run is not None

    class Swept(Registry):
        """Right before a version is registered, a sweep deletes its files."""

        async def register(self, *given: Any, **named: Any) -> Version:
            await store.delete(given[2])
            return await super().register(*given, **named)

    async def built(*_: object) -> object:
        return SimpleNamespace(digest="sha256:data", counts=dict)

    async def policy(_tenant_id: str) -> LearningPolicy:
        return LearningPolicy()

    async def down(_version: Version) -> None:
        raise StoreUnavailable("the engine", OSError())

    shop = SimpleNamespace(
        runs=runs,
        registry=Swept(database),
        store=store,
        loader=SimpleNamespace(ensure=down),
        engines=[],
        curriculum=SimpleNamespace(build=built),
        base=base,
        runs_dir=tmp_path / "runs",
        max_rank=16,
        policy=policy,
    )
    await RunWork(cast(Any, shop), run, OWNER, LearningPolicy()).work()
    version = await registry.version_of_run("ten_1", "default", run.id)
    assert version is not None and await store.exists(version.artifact_digest)


async def test_a_run_that_broke_off_too_often_ends_with_what_the_gate_has_said(judged: Judged) -> None:
    for _ in range(len(RETRY_SECONDS) + 1):
        await judged.shop.runs.release(judged.run.id, OWNER, "DiskFull: before", retry_s=-1)
        await judged.shop.runs.claim(OWNER)
    outcome = await judged.conclude("pass")
    assert (outcome.status, outcome.approves) == (RunStatus.SUCCEEDED, judged.version.id)


async def test_a_run_whose_dataset_is_gone_ends_with_what_the_gate_has_said(judged: Judged) -> None:
    async def gone(_tenant_id: str, _digest: str) -> None:
        return None

    cast(Any, judged.shop.curriculum).stored = gone
    assert (await judged.conclude("inconclusive")).status is RunStatus.AWAITING_APPROVAL


async def abandon(judged: Judged) -> None:
    """As often as is tried again, and once more; each time the kernel has killed a process."""
    for _ in RETRY_SECONDS:
        await judged.shop.runs.release(judged.run.id, OWNER, "OutOfMemory: before", retry_s=-1)
        await judged.shop.runs.claim(OWNER, -1.0, oom_kills={"place": "here", "count": 2})


async def end(judged: Judged) -> Outcome:
    """By whoever takes the run up."""
    await bury(judged.shop.runs, judged.shop.registry, OomKills("here", 3))
    run = await judged.shop.runs.claim("next")
    assert run is not None
    return await RunWork(judged.shop, run, "next", LearningPolicy(approval="auto")).work()


async def test_a_run_whose_version_a_person_approved_succeeds_whatever_its_learner_died_of(
    judged: Judged,
) -> None:
    await abandon(judged)
    await judged.shop.registry.set_status(judged.version.id, VersionStatus.APPROVED, "key_1", "")
    assert await end(judged) == Outcome(RunStatus.SUCCEEDED)


async def test_a_run_that_the_gate_has_judged_ends_so_whatever_its_learner_died_of(judged: Judged) -> None:
    await abandon(judged)
    await judged.shop.runs.update(judged.run.id, OWNER, report={"verdict": "fail", "learned": []})
    assert (await end(judged)).status is RunStatus.REJECTED


async def test_a_run_that_nobody_has_judged_fails_of_what_its_learner_died_of(judged: Judged) -> None:
    await abandon(judged)
    await bury(judged.shop.runs, judged.shop.registry, OomKills("here", 3))
    told = await judged.shop.runs.get(judged.run.id)
    assert told.status is RunStatus.FAILED and (told.error or "").startswith("OutOfMemory")
