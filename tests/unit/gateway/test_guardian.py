"""What a supervisor's guardian knows and ends."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from adapters.tasks import end
from gateway import guardian

STUBBORN = (
    "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
)


def process(code: str) -> subprocess.Popen[str]:
    """In a group of its own, past its first line of output."""
    started = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert started.stdout is not None
    with started.stdout:
        started.stdout.readline()
    return started


@pytest.mark.parametrize(
    ("lines", "left"),
    [
        ([], set()),
        (["+1\n", "+2\n"], {1, 2}),
        (["+1\n", "-1\n"], set()),
        (["x\n", "+a\n", "-3\n", "+4\n"], {4}),
    ],
)
def test_groups_that_were_started_and_have_not_ended_are_left(lines: list[str], left: set[int]) -> None:
    assert guardian.follow(lines) == left


def test_a_group_that_ignores_the_request_is_killed() -> None:
    stubborn = process(STUBBORN)
    guardian.end({stubborn.pid}, grace_s=0.2)
    assert stubborn.wait() == -signal.SIGKILL


def test_children_whose_leader_died_are_ended_too() -> None:
    leader = process("import os,time; os.fork() and print(1, flush=True); time.sleep(60)")
    leader.kill()
    leader.wait()
    assert guardian.alive(leader.pid)
    guardian.end({leader.pid}, grace_s=2.0)
    assert not guardian.alive(leader.pid)


def test_a_process_that_only_waits_to_be_collected_is_not_alive() -> None:
    ended = process("pass")
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    assert not guardian.alive(ended.pid)
    ended.wait()


def test_everything_ends_when_the_supervisor_disappears() -> None:
    watched = process("print(1, flush=True); import time; time.sleep(60)")
    watching = subprocess.Popen(
        [sys.executable, "-m", "gateway.guardian"], stdin=subprocess.PIPE, text=True, start_new_session=True
    )
    watching.communicate(f"+{watched.pid}\n")
    assert watched.wait() == -signal.SIGTERM


async def test_one_that_was_killed_has_a_successor_that_knows_what_runs(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as lock:
        hold = guardian.Guardian(lock.fileno(), tmp_path)
        hold.start()
        sleeping = process("import time; print(1, flush=True); time.sleep(60)")
        hold.add(sleeping.pid)
        keeping = asyncio.create_task(hold.keep())
        first = hold.pid
        os.kill(first, signal.SIGKILL)
        for _ in range(100):
            await asyncio.sleep(0.1)
            if hold.pid != first:
                break
        await end(keeping)
        await asyncio.to_thread(hold.stop)  # as if the supervisor had ended
    assert not guardian.alive(sleeping.pid)
    sleeping.wait()
