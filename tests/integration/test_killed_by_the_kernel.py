"""A learner that the kernel kills for lack of memory: a real kill and a real count, in a control group of its own."""

import asyncio
from pathlib import Path

import pytest

from tests.integration.learner_house import World, open_world
from tests.integration.memory_group import memory_group
from tests.integration.supervised_learner import supervised
from training.types import Run, RunStatus

pytestmark = pytest.mark.slow

ROOM = 48 * 2**20
"""A learner takes 13 MiB to take a run up and to build its dataset, and 140 more to train."""


async def until(world: World, run: Run, status: RunStatus) -> Run:
    for _ in range(2400):
        found = await world.runs.get(run.id)
        if found.status is status:
            return found
        await asyncio.sleep(0.05)
    raise TimeoutError(f"the run is {found.status}, not {status}")


async def test_a_run_whose_learner_the_kernel_killed_for_memory_says_so_and_succeeds_when_there_is_enough(
    base_model: Path, tmp_path: Path
) -> None:
    with memory_group() as group:
        async with (
            open_world(tmp_path, base_model) as world,
            supervised(group, tmp_path, base_model) as events,
        ):
            await world.policy()
            await world.post()
            assert (await anext(events)).kind == "ready"

            group.leave_room(ROOM)
            run = await world.runs.create("ten_1", "default", "manual")
            died = await anext(events)
            group.lift()
            assert (died.kind, group.killed()) == ("died", 1)
            assert died.detail.startswith("killed by signal 9, for lack of memory: ")

            told = await until(world, run, RunStatus.QUEUED)
            assert (told.error or "").startswith("OutOfMemory: the learner died, and the kernel has killed")
            assert told.attempts == 1 and told.not_before is not None

            await world.due(run)
            assert (await until(world, run, RunStatus.SUCCEEDED)).error is None
            story = [event.kind for event in await world.runs.events(run.id)]
            assert story.count("claimed") == 2 and story.count("retry") == 1
