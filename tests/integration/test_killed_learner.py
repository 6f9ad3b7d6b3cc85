"""A learner that is killed, wherever it was, costs time and nothing else: real processes, real signals, real training
of the shipped base model."""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.types import Alias, Version, VersionStatus
from tests.integration.learner_house import DEATHS, World, die_at, open_world, told_in_step
from training.pipeline import RunWork
from training.types import RunStatus

pytestmark = pytest.mark.slow

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tests.integration.learner_house"])


async def killed(where: str, directory: Path, base_model: Path, lease_s: float = 0.0) -> None:
    process = _processes.Process(target=die_at, args=(where, str(directory), str(base_model), lease_s))
    process.start()
    await asyncio.to_thread(process.join)
    assert process.exitcode == -signal.SIGKILL


async def versions(world: World) -> list[Version]:
    return await world.registry.versions("ten_1", "default")


@pytest.fixture
async def world(base_model: Path, tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path, base_model) as opened:
        await opened.policy()
        await opened.post()
        yield opened


@pytest.fixture(scope="module")
def undisturbed(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The artifact of the run when nobody is killed."""

    async def artifact() -> str:
        async with open_world(tmp_path_factory.mktemp("undisturbed"), base_model) as world:
            await world.policy()
            await world.post()
            await world.run()
            return (await versions(world))[0].artifact_digest

    return asyncio.run(artifact())


SAMPLE = (
    "the dataset is stored",
    "a checkpoint half written",
    "an artifact without its manifest",
    "the report is written",
)
"""Where a learner dies in every test run; the other places are tried with `-m long`."""


@pytest.mark.parametrize(
    "where", [pytest.param(where, marks=[] if where in SAMPLE else pytest.mark.long) for where in DEATHS]
)
async def test_a_run_whose_learner_is_killed_ends_with_the_same_artifact(
    where: str, world: World, undisturbed: str, base_model: Path, tmp_path: Path
) -> None:
    run = await world.runs.create("ten_1", "default", "manual")
    await killed(where, tmp_path, base_model)
    assert (await world.runs.get(run.id)).status is RunStatus.RUNNING
    assert await world.registry.alias("ten_1", "default", Alias.STABLE) == (None, 0)

    assert await world.learner.work_once()
    done = await world.runs.get(run.id)
    (version,) = await versions(world)
    assert (done.status, done.error, done.version_id) == (RunStatus.SUCCEEDED, None, version.id)
    assert (version.status, version.artifact_digest) == (VersionStatus.APPROVED, undisturbed)
    assert await world.shop.store.fetch(undisturbed, tmp_path / "copy")
    assert (await world.runs.learned([version.id]))[version.id]
    assert list((tmp_path / "runs").glob("*")) == []


async def test_a_run_whose_version_went_live_by_a_persons_word_has_succeeded(
    world: World, base_model: Path, tmp_path: Path
) -> None:
    run = await world.runs.create("ten_1", "default", "manual")
    await killed("the gate has judged", tmp_path, base_model)
    (version,) = await versions(world)
    await world.registry.set_status(version.id, VersionStatus.APPROVED, "key_1")
    move = await world.registry.move_alias("ten_1", "default", Alias.STABLE, version.id, "system:rollout")
    assert await world.learner.work_once()
    assert (await world.runs.get(run.id)).status is RunStatus.SUCCEEDED
    assert await world.registry.alias("ten_1", "default", Alias.STABLE) == (move.version_id, 1)


async def test_a_run_that_kills_its_learner_every_time_is_given_up(
    world: World, base_model: Path, tmp_path: Path
) -> None:
    run = await world.runs.create("ten_1", "default", "manual")
    for _ in range(6):
        assert (await world.runs.get(run.id)).status is not RunStatus.FAILED
        await killed("the first step", tmp_path, base_model)
        if (await world.runs.get(run.id)).attempts == 4:
            break
    assert await world.learner.work_once()
    done = await world.runs.get(run.id)
    assert done.status is RunStatus.FAILED and "interrupted 5 times" in (done.error or "")


async def test_a_run_is_cancelled_at_once_although_its_learner_was_killed_a_moment_ago_and_leaves_nothing(
    world: World, base_model: Path, tmp_path: Path
) -> None:
    run = await world.runs.create("ten_1", "default", "manual")
    await killed("the gate has judged", tmp_path, base_model, lease_s=10.0)
    assert (await world.runs.cancel(run.id, "key_1")).status is RunStatus.CANCELLED
    assert not await world.learner.work_once()
    await world.learner.tidy()
    (version,) = await versions(world)
    assert version.status is VersionStatus.REJECTED and version.id not in world.engine.loaded
    assert list((tmp_path / "runs").glob("*")) == []


async def test_a_learner_that_gets_sigterm_finishes_its_step_and_the_next_one_goes_on(
    world: World, undisturbed: str, base_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await world.runs.create("ten_1", "default", "manual")
    inside = _processes.Event()
    process = _processes.Process(target=told_in_step, args=(2, str(tmp_path), str(base_model), inside))
    process.start()
    assert await asyncio.to_thread(inside.wait, 60)
    os.kill(process.pid or 0, signal.SIGTERM)
    await asyncio.to_thread(process.join)
    told = await world.runs.get(run.id)
    assert (process.exitcode, told.status, told.attempts) == (0, RunStatus.QUEUED, 0)

    steps: list[int] = []
    monkeypatch.setattr(RunWork, "_reported", lambda work, progress: steps.append(progress.step))
    assert await world.learner.work_once()
    (version,) = await versions(world)
    assert (steps, version.artifact_digest) == ([3, 4], undisturbed)
