"""What control groups leave, by trees of /proc and /sys as kernels show them."""

from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from training import device
from training.cgroups import left_by_groups

GIB = 2**30
UNLIMITED = 9223372036854771712
"""What a group of the first version without a limit has."""
MOUNT_2 = "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate"
MOUNT_1 = "35 31 0:32 {shown} /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory"
OTHERS = """23 1 254:1 / / rw,relatime shared:1 - ext4 /dev/root rw
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
"""
GROUPS_1 = "9:name=systemd:/\n4:memory:{path}\n2:cpuacct:/\n1:cpu:/\n0::/\n"


def tree(root: Path, mounts: str, groups: str, files: Mapping[str, str]) -> Path:
    texts = {"proc/self/mountinfo": f"{OTHERS}{mounts}", "proc/self/cgroup": groups, **files}
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def group_2(path: str, limit: str, used: int, cached: int = 0) -> dict[str, str]:
    at = f"sys/fs/cgroup/{path}"
    stat = f"anon 4096\ninactive_file {cached}\nactive_file 512\n"
    return {f"{at}/memory.max": f"{limit}\n", f"{at}/memory.current": f"{used}\n", f"{at}/memory.stat": stat}


def group_1(path: str, limit: int, used: int, cached: int = 0) -> dict[str, str]:
    at = f"sys/fs/cgroup/memory/{path}"
    stat = f"cache 0\ninactive_file 1\nhierarchical_memory_limit {limit}\ntotal_inactive_file {cached}"
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat")
    return {f"{at}/{name}": f"{text}\n" for name, text in zip(names, (limit, used, stat), strict=True)}


def test_a_container_of_the_second_version_sees_its_own_group_as_the_top(tmp_path: Path) -> None:
    files = group_2("", str(8 * GIB), 3 * GIB, GIB)
    assert left_by_groups(tree(tmp_path, MOUNT_2, "0::/\n", files)) == [6 * GIB]


@pytest.mark.parametrize(
    ("own", "slice_", "least"),
    [("max", str(4 * GIB), 3 * GIB), (str(2 * GIB), str(4 * GIB), GIB), (str(9 * GIB), "max", 8 * GIB)],
    ids=["the parent's alone", "its own is nearer", "its own alone"],
)
def test_a_limit_holds_for_every_group_below(tmp_path: Path, own: str, slice_: str, least: int) -> None:
    files = group_2("work.slice", slice_, GIB) | group_2("work.slice/graft.service", own, GIB)
    groups = "0::/work.slice/graft.service\n"
    assert min(left_by_groups(tree(tmp_path, MOUNT_2, groups, files))) == least


def test_a_group_between_without_files_hides_none_above(tmp_path: Path) -> None:
    files = group_2("pods", str(4 * GIB), GIB)
    assert left_by_groups(tree(tmp_path, MOUNT_2, "0::/pods/one/main\n", files)) == [3 * GIB]


def test_no_limit_leaves_the_machines_memory(tmp_path: Path) -> None:
    assert left_by_groups(tree(tmp_path, MOUNT_2, "0::/user.slice\n", group_2("user.slice", "max", 5))) == []


def test_a_nested_group_of_the_first_version_is_found_by_the_controllers_line(tmp_path: Path) -> None:
    files = group_1("jobs/one", UNLIMITED, GIB) | group_1("jobs", 4 * GIB, 2 * GIB, GIB // 2)
    mounts = "\n".join(
        [MOUNT_1.format(shown="/"), "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw"]
    )
    left = left_by_groups(tree(tmp_path, mounts, GROUPS_1.format(path="/jobs/one"), files))
    assert sorted(left) == [2.5 * GIB, UNLIMITED - GIB]


@pytest.mark.parametrize("path", ["/docker/4f2a", "/docker/4f2a/inner", "/elsewhere", "/../beside"])
def test_a_container_that_is_shown_only_its_group_reads_it_at_the_mounts_top(
    tmp_path: Path, path: str
) -> None:
    files = group_1("", 4 * GIB, GIB) | group_1("inner", 8 * GIB, GIB) | group_1("beside", 1, 1)
    mounts = MOUNT_1.format(shown="/docker/4f2a")
    left = left_by_groups(tree(tmp_path, mounts, GROUPS_1.format(path=path), files))
    assert min(left) == 3 * GIB and len(left) == (2 if path.endswith("inner") else 1)


@pytest.mark.parametrize("mounts", ["", OTHERS])
def test_a_kernel_without_groups_limits_nothing(tmp_path: Path, mounts: str) -> None:
    assert left_by_groups(tree(tmp_path, mounts, "", {})) == []
    assert left_by_groups(tmp_path / "nothing") == []


def test_what_is_free_is_the_least_of_machine_and_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "on_gpu", lambda: False)
    available = psutil.virtual_memory().available
    for left in ([], [UNLIMITED], [GIB // 7, UNLIMITED]):
        monkeypatch.setattr(device, "left_by_groups", lambda left=left: left)
        free = device.free_memory()
        assert free == GIB // 7 if len(left) == 2 else free == pytest.approx(available, rel=0.2)
