"""The memory that this process's control groups leave it, in both versions of the kernel's interface (cgroups(7)).

Docker and Kubernetes limit by them. A group's limit holds for all groups below it, so each counts up to the mount's
top; what is above that, outside a container, cannot be seen.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath


@dataclass(frozen=True)
class _Interface:
    """How one version calls a limit, what is used, and what of that are cached files, which give way."""

    limit: str
    used: str
    cached: str


_ONE = _Interface("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_TWO = _Interface("memory.max", "memory.current", "inactive_file")


@dataclass(frozen=True)
class _Mount:
    """Where groups are shown: at `top`, those from the group `shown` on."""

    interface: _Interface
    shown: str
    top: Path

    def groups(self, path: str) -> Iterator[Path]:
        """The directories of a group and of those above it. Of one that is not shown, the top alone."""
        below = PurePosixPath(path)
        inside = below.is_relative_to(self.shown) and ".." not in below.parts
        group = self.top / below.relative_to(self.shown) if inside else self.top
        for each in (group, *group.parents):
            yield each
            if each == self.top:
                return


def left_by_groups(root: Path = Path("/")) -> list[int]:
    """Bytes that each of this process's groups with a limit still has, cached files counted as free. A group of the
    first version without a limit has one near 2^63."""
    found = []
    with suppress(OSError):
        mounts = list(_mounts(root))
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            for mount in mounts:
                if ("memory" in controllers.split(",")) if mount.interface is _ONE else not controllers:
                    found += [_left(group, mount.interface) for group in mount.groups(path)]
    return [left for left in found if left is not None]


def _mounts(root: Path) -> Iterator[_Mount]:
    """Of the first version that of the memory controller alone."""
    for line in (root / "proc/self/mountinfo").read_text().splitlines():
        place, _, kind = line.partition(" - ")
        shown, at = place.split()[3:5]
        name, options = kind.split()[0], kind.split()[-1].split(",")
        if name == "cgroup2" or (name == "cgroup" and "memory" in options):
            yield _Mount(_TWO if name == "cgroup2" else _ONE, shown, root / at.lstrip("/"))


def _left(group: Path, interface: _Interface) -> int | None:
    """None without a limit: the group has no such file, or it says "max"."""
    with suppress(OSError, ValueError):
        limit, used = (int((group / name).read_text()) for name in (interface.limit, interface.used))
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return limit - used + int(stat.get(interface.cached, 0))
    return None
