"""What the kernel counts when it kills for lack of memory. Nobody else tells: whom it kills can say nothing any more,
and whoever sees the process end sees a signal 9 like any other."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class OomKills:
    """A count of killed processes. `place` names what is counted: a control group, or the whole machine since it was
    started; counts of two places say nothing about each other."""

    place: str
    count: int

    def since(self, before: "OomKills | None") -> int:
        """How many more there are than before; 0 where that cannot be told."""
        return self.count - before.count if before and before.place == self.place else 0


def oom_kills(root: Path = Path("/")) -> OomKills | None:
    """Of this process's control group (cgroup v2), else of the machine; None where the kernel shows neither."""
    with suppress(OSError, ValueError, StopIteration):
        boot = (root / "proc/sys/kernel/random/boot_id").read_text().strip()
        group = _group(root)
        if (group / "memory.events").is_file():
            return OomKills(f"{boot} group {group.stat().st_ino}", _counted(group / "memory.events"))
        return OomKills(boot, _counted(root / "proc/vmstat"))
    return None


def _group(root: Path) -> Path:
    lines = (root / "proc/self/cgroup").read_text().splitlines()
    path = next((line.removeprefix("0::") for line in lines if line.startswith("0::")), "/")
    return root / "sys/fs/cgroup" / path.lstrip("/")


def _counted(file: Path) -> int:
    """From lines of a name and a number. Raises StopIteration when `oom_kill` is not among them."""
    pairs = (line.split() for line in file.read_text().splitlines())
    return next(int(number) for name, number in pairs if name == "oom_kill")
