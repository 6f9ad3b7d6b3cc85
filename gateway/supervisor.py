"""Keeps processes running: started together, waited for, restarted with back-off, ended together.

Every process leads its own process group, so that what it has started ends with it, writes into its own log file, and
has temporary files of its own, which no successor finds.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.guardian import Guardian, alive
from gateway.launch_errors import LaunchError
from gateway.process_files import last_lines, rotate, with_scratch
from training.oom import OomKills, oom_kills

Probe = Callable[[], Awaitable[bool]]
"""Answers whether a process can do its work. Never raises."""

POLL_SECONDS = 0.1
BACKOFF_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
STEADY_SECONDS = 60.0
"""A process that lived this long has earned a fresh back-off."""
ORPHAN_SECONDS = 1.0
"""What children get to end once the process that led them has died."""


@dataclass(frozen=True)
class ProcessSpec:
    """One process: what to run, how to tell that it is ready, how long it may take to start and to end."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    ready: Probe
    after: Sequence[str] = ()
    """Processes that must be ready before this one starts."""
    niceness: int = 0
    pass_fds: Sequence[int] = ()
    ready_within_s: float = 600.0
    stop_within_s: float = 10.0


@dataclass(frozen=True)
class Event:
    """Something a person at the terminal wants to see. Kinds: `ready`, `died`, `restarting`."""

    kind: str
    process: str
    pid: int
    seconds: float
    """Since the process started (`ready`, `died`), or until it is started again (`restarting`)."""
    detail: str = ""


class Supervised:
    """One process and its successors."""

    def __init__(
        self,
        spec: ProcessSpec,
        log: Path,
        scratch: Path,
        root: Path,
        guardian: Guardian,
        report: Callable[[Event], None],
        changed: Callable[[], None],
    ) -> None:
        self.spec = spec
        self.log = log
        self.ready = asyncio.Event()
        self.failed: LaunchError | None = None
        self.pid = 0
        self.restarts = 0
        self._scratch = scratch
        self._root = root
        self._guardian = guardian
        self._report = report
        self._changed = changed
        self._process: asyncio.subprocess.Process | None = None
        self._started = 0.0
        self._kills: OomKills | None = None

    async def keep(self) -> None:
        """Run the process for as long as this task lives. A first start that fails is not repeated."""
        failures = 0
        while True:
            process = await self._start()
            await self._watch(process)
            self.ready.clear()
            lived = time.monotonic() - self._started
            self._report(Event("died", self.spec.name, process.pid, lived, self._end(process)))
            if self.failed is not None:
                return
            failures = 0 if lived > STEADY_SECONDS else failures
            wait = BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)]
            failures += 1
            self._report(Event("restarting", self.spec.name, process.pid, wait))
            await asyncio.sleep(wait)
            self.restarts += 1

    async def stop(self) -> None:
        """Ask the group to end; kill what is left after the spec's time."""
        if self._process is None:
            return
        group = self._process.pid
        await end_group(group, self.spec.stop_within_s)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._process.wait(), 5.0)
        self._guardian.remove(group)
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _end(self, process: asyncio.subprocess.Process) -> str:
        """How it ended. A signal 9 that is not ours is a person's or the kernel's."""
        if process.returncode != -signal.SIGKILL or self.failed is not None:
            return f"exit status {process.returncode}"
        kills = oom_kills()
        if kills and kills.since(self._kills):
            return "killed by signal 9, for lack of memory: the kernel has killed for it meanwhile"
        return "killed by signal 9, possibly for lack of memory"

    async def _start(self) -> asyncio.subprocess.Process:
        rotate(self.log)
        self._kills = oom_kills()
        with self.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *self.spec.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=with_scratch(self.spec.environment, self._scratch),
                cwd=self._root,
                pass_fds=tuple(self.spec.pass_fds),
                start_new_session=True,
            )
        self._guardian.add(process.pid)
        if self.spec.niceness:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.setpriority(os.PRIO_PROCESS, process.pid, self.spec.niceness)
        self._process, self.pid, self._started = process, process.pid, time.monotonic()
        self._changed()
        return process

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        """Until the process has ended, with everything that it had started."""
        ended = asyncio.create_task(process.wait())
        try:
            if await self._becomes_ready(ended):
                took = time.monotonic() - self._started
                self.ready.set()
                self._report(Event("ready", self.spec.name, process.pid, took))
                self._changed()
            elif not self._was_ready():
                self.failed = LaunchError(self._why(ended), fix=f"Its log: {self.log}")
                await end_group(process.pid, self.spec.stop_within_s)
            await ended
        finally:
            ended.cancel()
        await end_group(process.pid, ORPHAN_SECONDS)
        self._guardian.remove(process.pid)

    async def _becomes_ready(self, ended: "asyncio.Task[int]") -> bool:
        deadline = self._started + self.spec.ready_within_s
        while not ended.done() and (time.monotonic() < deadline or self._was_ready()):
            if await self.spec.ready():
                return True
            await asyncio.wait({ended}, timeout=POLL_SECONDS)
        return False

    def _was_ready(self) -> bool:
        return self.restarts > 0

    def _why(self, ended: "asyncio.Task[int]") -> str:
        tail = "\n".join(f"    {line}" for line in last_lines(self.log))
        if ended.done():
            return f"{self.spec.name} ended with status {ended.result()} before it was ready.\n{tail}\n"
        return f"{self.spec.name} was not ready within {self.spec.ready_within_s:.0f} s.\n{tail}\n"


class Supervisor:
    """All processes of one data directory."""

    def __init__(
        self,
        specs: Sequence[ProcessSpec],
        logs: Path,
        scratch: Path,
        root: Path,
        guardian: Guardian,
        report: Callable[[Event], None],
        changed: Callable[[], None],
    ) -> None:
        self.guardian = guardian
        self.processes = {
            spec.name: Supervised(
                spec, logs / f"{spec.name}.log", scratch / spec.name, root, guardian, report, changed
            )
            for spec in specs
        }
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def start(self) -> None:
        """Returns when every process is ready. Raises LaunchError, with everything still to be stopped."""
        self._tasks["guardian"] = asyncio.create_task(self.guardian.keep())
        waiting = {asyncio.create_task(self._start(process)) for process in self.processes.values()}
        try:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            for task in waiting:
                task.cancel()

    async def stop(self) -> None:
        """End everything, in the opposite order of starting: those that ask before those that answer."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await asyncio.gather(*(process.stop() for process in self.processes.values() if process.spec.after))
        await asyncio.gather(
            *(process.stop() for process in self.processes.values() if not process.spec.after)
        )

    async def _start(self, process: Supervised) -> None:
        for name in process.spec.after:
            if name in self.processes:
                await self._ready(self.processes[name])
        self._tasks[process.spec.name] = asyncio.create_task(process.keep())
        await self._ready(process)

    async def _ready(self, process: Supervised) -> None:
        while not process.ready.is_set():
            if process.failed is not None:
                raise process.failed
            task = self._tasks.get(process.spec.name)
            if task is not None and task.done():
                task.result()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(process.ready.wait(), POLL_SECONDS)


async def end_group(group: int, within_s: float) -> None:
    """SIGTERM to a process group, SIGKILL to what is left of it after `within_s` seconds."""
    for number, wait_s in ((signal.SIGTERM, within_s), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)
        deadline = time.monotonic() + wait_s
        while alive(group):
            if time.monotonic() >= deadline:
                break
            await asyncio.sleep(POLL_SECONDS / 2)
        else:
            return
