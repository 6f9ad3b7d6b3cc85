from pathlib import Path

import pytest

from training.oom import OomKills, oom_kills

BOOT = "4d2c"


def machine(root: Path, *, group: str | None = None, vmstat: str = "oom_kill 7\n") -> Path:
    """The files of a kernel; with its counts for one control group, or for the machine only."""
    files = {
        "proc/sys/kernel/random/boot_id": f"{BOOT}\n",
        "proc/self/cgroup": "4:memory:/old\n0::/learner.service\n",
        "proc/vmstat": f"nr_free_pages 5\n{vmstat}",
    }
    if group is not None:
        files["sys/fs/cgroup/learner.service/memory.events"] = group
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_the_kills_of_the_own_control_group_are_counted(tmp_path: Path) -> None:
    found = oom_kills(machine(tmp_path, group="low 0\noom 3\noom_kill 2\noom_group_kill 1\n"))
    assert found is not None and found.count == 2 and found.place.startswith(f"{BOOT} group ")


def test_without_a_count_of_the_group_the_machines_is_taken(tmp_path: Path) -> None:
    assert oom_kills(machine(tmp_path)) == OomKills(BOOT, 7)


def test_a_kernel_that_does_not_count_is_none(tmp_path: Path) -> None:
    assert oom_kills(machine(tmp_path, vmstat="")) is None
    assert oom_kills(tmp_path / "elsewhere") is None


@pytest.mark.parametrize(
    ("before", "more"),
    [(OomKills("here", 2), 3), (OomKills("here", 5), 0), (OomKills("there", 2), 0), (None, 0)],
)
def test_only_counts_of_one_place_are_compared(before: OomKills | None, more: int) -> None:
    assert OomKills("here", 5).since(before) == more
