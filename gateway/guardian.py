"""Ends a supervisor's processes when the supervisor itself cannot: it was killed, or the machine ran out of
memory.

The supervisor holds the other end of this process's standard input and writes `+<group>` when it starts a
process group and `-<group>` once that has ended. End of file means that the supervisor is gone, in whatever
way. Process groups are ended, not only their leaders, because an engine's own children outlive it. The data
directory's lock is inherited, so that a new supervisor cannot start before the last process of the old one
is gone.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

GRACE_SECONDS = 8.0
POLL_SECONDS = 0.05
LOOK_SECONDS = 0.5
"""Between two looks of a supervisor whether its guardian lives."""


class Guardian:
    """A supervisor's hold of its guardian, and of that one's successors. `lock` is the data directory's."""

    def __init__(self, lock: int, root: Path) -> None:
        self._lock = lock
        self._root = root
        self._groups: set[int] = set()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """0 before the start."""
        return self._process.pid if self._process is not None else 0

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gateway.guardian"],
            stdin=subprocess.PIPE,
            cwd=self._root,
            pass_fds=(self._lock,),
            start_new_session=True,
        )
        for group in self._groups:
            self._write(f"+{group}\n")

    async def keep(self) -> None:
        """One that was killed gets a successor, which is told of everything that runs."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self._process is not None and self._process.poll() is not None:
                self.stop()
                self.start()

    def add(self, group: int) -> None:
        self._groups.add(group)
        self._write(f"+{group}\n")

    def remove(self, group: int) -> None:
        self._groups.discard(group)
        self._write(f"-{group}\n")

    def stop(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
            self._process.wait()

    def _write(self, line: str) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(line.encode())
                self._process.stdin.flush()


def follow(lines: Iterable[str]) -> set[int]:
    """The process groups left when the lines end."""
    groups: set[int] = set()
    for line in lines:
        sign, number = line[:1], line[1:].strip()
        if not number.isdigit():
            continue
        if sign == "+":
            groups.add(int(number))
        else:
            groups.discard(int(number))
    return groups


def alive(group: int) -> bool:
    """Whether any process of the group still runs. What only waits to be collected does not: not every init
    does."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return any(_runs_in(group, entry) for entry in Path("/proc").glob("[0-9]*/stat"))


def _runs_in(group: int, stat: Path) -> bool:
    """Fields after the command's closing parenthesis: state, parent, group (proc(5))."""
    with contextlib.suppress(OSError):
        state, _, member_of = stat.read_text().rpartition(")")[2].split()[:3]
        return int(member_of) == group and state != "Z"
    return False


def end(groups: set[int], grace_s: float = GRACE_SECONDS) -> None:
    """Ask every group to end, and kill what is left after the grace."""
    _signal(groups, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while time.monotonic() < deadline and any(alive(group) for group in groups):
        time.sleep(POLL_SECONDS)
    _signal(groups, signal.SIGKILL)


def _signal(groups: set[int], number: signal.Signals) -> None:
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)


def main() -> None:
    """Runs in its own session, so that Ctrl-C in the supervisor's terminal does not reach it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    end(follow(sys.stdin))


if __name__ == "__main__":
    main()
