"""A learner that took a run and was killed with signal 9: a real process and a real record. The kernel's count is the
test's; `test_killed_by_the_kernel` moves the real one."""

import asyncio
import signal
import subprocess
import sys

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.registry import Registry
from training.oom import OomKills
from training.runs import RunStore
from training.trouble import RETRY_SECONDS, bury
from training.types import Run, RunStatus

KILLED = """
import asyncio, os, signal, sys
from adapters.database import connect
from training.runs import RunStore

async def die():
    noted = {"oom_kills": {"place": "here", "count": 2}}
    assert await RunStore(connect(sys.argv[1])).claim("mortal", -1.0, **noted)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(die())
"""


async def killed(database: AsyncEngine) -> Run:
    """A run whose learner is dead and held no lease any more."""
    runs = RunStore(database)
    await runs.create("ten_1", "default", "manual")
    url = database.url.render_as_string(hide_password=False)
    command = [sys.executable, "-c", KILLED, url]
    process = await asyncio.to_thread(subprocess.run, command, check=False)
    assert process.returncode == -signal.SIGKILL
    ((run, owner, _),) = await runs.abandoned()
    assert (run.status, owner) == (RunStatus.RUNNING, "mortal")
    return run


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


async def test_a_run_whose_learner_was_killed_for_memory_says_so_and_is_tried_later(
    database: AsyncEngine,
) -> None:
    runs, run = RunStore(database), await killed(database)
    await bury(runs, Registry(database), OomKills("here", 3))
    told = await runs.get(run.id)
    assert (told.status, told.attempts) == (RunStatus.QUEUED, 1)
    assert (told.error or "").startswith("OutOfMemory: the learner died") and told.not_before is not None
    assert [event.kind for event in await runs.events(run.id)] == ["queued", "claimed", "retry"]
    assert await runs.claim("next") is None


@pytest.mark.parametrize("kills", [OomKills("here", 2), OomKills("another machine", 9), None])
async def test_a_run_whose_learner_was_killed_for_something_else_is_taken_up_at_once(
    database: AsyncEngine, kills: OomKills | None
) -> None:
    runs = RunStore(database)
    run = await killed(database)
    await bury(runs, Registry(database), kills)
    taken = await runs.claim("next")
    assert taken is not None and (taken.id, taken.error, taken.attempts) == (run.id, None, 1)


async def test_a_run_that_was_killed_for_memory_once_too_often_has_failed(database: AsyncEngine) -> None:
    runs, run = RunStore(database), await killed(database)
    for _ in RETRY_SECONDS:
        await runs.release(run.id, "mortal", "OutOfMemory: before", retry_s=-1)
        await runs.claim("mortal", -1, oom_kills={"place": "here", "count": 2})
    await bury(runs, Registry(database), OomKills("here", 3))
    told = await runs.get(run.id)
    assert told.status is RunStatus.FAILED and (told.error or "").startswith("OutOfMemory")
