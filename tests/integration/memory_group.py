"""A control group of the kernel with a limit of memory, of the first version or the second, for processes that are to
be killed when they need more."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

MOUNT = Path("/sys/fs/cgroup")
PROCESSES = "cgroup.procs"
END_SECONDS = 10.0


@dataclass(frozen=True)
class MemoryGroup:
    """Names are those of the kernel's files; `cached` is what `memory.stat` calls the pages of files."""

    directory: Path
    limit: str
    used: str
    kills: str
    cached: str
    no_limit: str

    @classmethod
    def named(cls, name: str) -> "MemoryGroup":
        first = MOUNT / "memory"
        if first.is_dir():
            files = ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.oom_control")
            return cls(first / name, *files, cached="cache", no_limit="-1")
        return cls(
            MOUNT / name, "memory.max", "memory.current", "memory.events", cached="file", no_limit="max"
        )

    def enter(self) -> None:
        """This process, with what it starts from now on. What it holds already is not counted."""
        self._write(PROCESSES, str(os.getpid()))

    def leave_room(self, more: int) -> None:
        """From now on the group gets no more than it has and `more` bytes. Pages of files, which give way, are not what
        it has."""
        used = int((self.directory / self.used).read_text())
        self._write(self.limit, str(used - self._counted("memory.stat", self.cached) + more))

    def lift(self) -> None:
        self._write(self.limit, self.no_limit)

    def swap_nothing(self) -> None:
        """Else who needs more gets slow instead."""
        for name in ("memory.swappiness", "memory.swap.max"):
            if (self.directory / name).is_file():
                self._write(name, "0")

    def killed(self) -> int:
        """How many of its processes the kernel killed for lack of memory."""
        return self._counted(self.kills, "oom_kill")

    def end(self) -> None:
        """Kills whoever is left in it, and removes it. Raises OSError when they do not end."""
        deadline = time.monotonic() + END_SECONDS
        while (left := (self.directory / PROCESSES).read_text().split()) and time.monotonic() < deadline:
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            time.sleep(0.05)
        self.directory.rmdir()

    def _write(self, name: str, text: str) -> None:
        (self.directory / name).write_text(text)

    def _counted(self, file: str, name: str) -> int:
        pairs = (line.split() for line in (self.directory / file).read_text().splitlines())
        return next(int(number) for found, number in pairs if found == name)


@contextmanager
def memory_group() -> Iterator[MemoryGroup]:
    """A new one without a limit. Skips the test where none can be made."""
    group = MemoryGroup.named(f"graft-tests-{os.getpid()}")
    try:
        group.directory.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    if not (group.directory / group.limit).is_file():
        group.directory.rmdir()
        pytest.skip(f"control groups in {group.directory.parent} have no limit of memory")
    try:
        group.swap_nothing()
        yield group
    finally:
        group.end()
