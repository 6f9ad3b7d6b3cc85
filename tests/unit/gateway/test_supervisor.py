"""Real processes, started, watched, restarted and ended."""

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from gateway.guardian import Guardian, alive
from gateway.launch_errors import LaunchError
from gateway.supervisor import Event, ProcessSpec, Supervisor
from training.oom import OomKills

SLEEPING = "import time; time.sleep(60)"
Make = Callable[..., Supervisor]


async def at_once() -> bool:
    return True


async def never() -> bool:
    return False


def spec(name: str, code: str, **changes: object) -> ProcessSpec:
    values = {"environment": dict(os.environ), "ready": at_once, "stop_within_s": 2.0, **changes}
    return ProcessSpec(name, [sys.executable, "-c", code], **values)  # type: ignore[arg-type]


@pytest.fixture
async def events() -> "asyncio.Queue[Event]":
    return asyncio.Queue()


@pytest.fixture
async def make(tmp_path: Path, events: "asyncio.Queue[Event]") -> AsyncIterator[Make]:
    made: list[Supervisor] = []

    def build(*specs: ProcessSpec) -> Supervisor:
        built = Supervisor(
            specs,
            tmp_path,
            tmp_path / "tmp",
            tmp_path,
            Guardian(0, tmp_path),
            events.put_nowait,
            lambda: None,
        )
        made.append(built)
        return built

    yield build
    for each in made:
        await each.stop()


async def until(events: "asyncio.Queue[Event]", kind: str, process: str) -> Event:
    while True:
        event = await asyncio.wait_for(events.get(), 20)
        if (event.kind, event.process) == (kind, process):
            return event


async def test_start_returns_when_every_process_is_ready(make: Make) -> None:
    system = make(spec("one", SLEEPING), spec("two", SLEEPING))
    await system.start()
    assert all(process.ready.is_set() for process in system.processes.values())


async def test_a_process_starts_after_those_it_needs(make: Make, events: "asyncio.Queue[Event]") -> None:
    await make(spec("second", SLEEPING, after=("first",)), spec("first", SLEEPING)).start()
    assert [(await events.get()).process for _ in range(2)] == ["first", "second"]


async def test_a_process_that_dies_is_started_again(make: Make, events: "asyncio.Queue[Event]") -> None:
    system = make(spec("one", SLEEPING))
    await system.start()
    first = system.processes["one"].pid
    os.kill(first, signal.SIGKILL)
    assert (await until(events, "died", "one")).detail == "killed by signal 9, possibly for lack of memory"
    again = await until(events, "ready", "one")
    assert again.pid != first
    assert system.processes["one"].restarts == 1


async def test_a_process_that_is_killed_while_the_kernel_kills_for_memory_is_said_to_be_one_of_them(
    make: Make, events: "asyncio.Queue[Event]", monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = itertools.count()
    monkeypatch.setattr("gateway.supervisor.oom_kills", lambda: OomKills("here", next(counts)))
    system = make(spec("one", SLEEPING))
    await system.start()
    os.kill(system.processes["one"].pid, signal.SIGKILL)
    assert "the kernel has killed for it meanwhile" in (await until(events, "died", "one")).detail


async def test_a_process_that_ends_by_itself_says_its_status(
    make: Make, events: "asyncio.Queue[Event]"
) -> None:
    await make(spec("one", "import time; time.sleep(0.5); raise SystemExit(3)")).start()
    assert (await until(events, "died", "one")).detail == "exit status 3"


async def test_what_a_dead_process_had_started_ends_before_it_is_started_again(
    make: Make, events: "asyncio.Queue[Event]"
) -> None:
    system = make(spec("one", f"import subprocess; subprocess.Popen(['sleep', '60']); {SLEEPING}"))
    await system.start()
    first = system.processes["one"].pid
    os.kill(first, signal.SIGKILL)
    await until(events, "died", "one")
    assert not alive(first)


async def test_no_process_finds_the_temporary_files_of_one_that_was_killed(
    make: Make, events: "asyncio.Queue[Event]", tmp_path: Path
) -> None:
    leaving = f"import tempfile; tempfile.mkdtemp(); open('left', 'a').write('.'); {SLEEPING}"

    async def left() -> bool:
        return (tmp_path / "left").exists() and len((tmp_path / "left").read_text()) == 1 + one.restarts

    system = make(spec("one", leaving, ready=left))
    one = system.processes["one"]
    await system.start()
    os.kill(one.pid, signal.SIGKILL)
    await until(events, "died", "one")
    await until(events, "ready", "one")
    assert len(list((tmp_path / "tmp" / "one").iterdir())) == 1
    await system.stop()
    assert not (tmp_path / "tmp" / "one").exists()


async def test_a_first_start_that_fails_says_why_with_the_end_of_the_log(make: Make) -> None:
    with pytest.raises(LaunchError, match="the disk is on fire"):
        await make(spec("one", "raise SystemExit('the disk is on fire')", ready=never)).start()


async def test_a_process_that_never_becomes_ready_is_an_error(make: Make) -> None:
    with pytest.raises(LaunchError, match="was not ready within"):
        await make(spec("slow", SLEEPING, ready=never, ready_within_s=0.3)).start()


async def test_stopping_ends_every_process(make: Make) -> None:
    system = make(spec("one", SLEEPING), spec("two", SLEEPING, after=("one",)))
    await system.start()
    pids = [process.pid for process in system.processes.values()]
    await system.stop()
    assert not any(alive(pid) for pid in pids)


async def test_a_process_that_ignores_the_request_to_end_is_killed(make: Make, tmp_path: Path) -> None:
    code = f"import signal,sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); open('on', 'w'); {SLEEPING}"

    async def deaf() -> bool:
        return (tmp_path / "on").exists()

    system = make(spec("one", code, ready=deaf, stop_within_s=0.2))
    await system.start()
    await system.stop()
    assert not alive(system.processes["one"].pid)


async def test_a_niced_process_runs_below_the_others(make: Make) -> None:
    system = make(spec("one", SLEEPING, niceness=12))
    await system.start()
    assert os.getpriority(os.PRIO_PROCESS, system.processes["one"].pid) == 12
