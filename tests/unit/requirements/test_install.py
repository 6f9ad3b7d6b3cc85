import stat
import sys
from pathlib import Path

import pytest

from requirements import install

FIT = "NVIDIA H100 80GB HBM3, 580.65.06, 9.0"


@pytest.mark.parametrize(
    ("told", "answer", "accelerator", "why"),
    [
        ("auto", "", "cpu", "no nvidia-smi"),
        ("auto", FIT, "gpu", f"found {FIT}"),
        ("gpu", "", "gpu", "GRAFT_ACCELERATOR says so"),
        ("cpu", FIT, "cpu", "GRAFT_ACCELERATOR says so"),
        ("auto", "No devices were found", "cpu", "No devices were found"),
        ("auto", "NVIDIA H100 80GB HBM3, 550.54.15, 9.0", "cpu", "older than 580"),
        ("auto", "Tesla V100-SXM2-16GB, 580.65.06, 7.0", "cpu", "capability 7.5 and newer"),
    ],
)
def test_the_lock_is_chosen_by_what_the_gpu_can_do(
    told: str, answer: str, accelerator: str, why: str
) -> None:
    lock, reason = install.choose(told, answer)
    assert lock.accelerator == accelerator and why in reason


def test_another_accelerator_ends_the_set_up() -> None:
    with pytest.raises(SystemExit, match="cpu, gpu or auto, not 'tpu'"):
        install.choose("tpu", FIT)


def nvidia_smi(directory: Path, script: str) -> None:
    program = directory / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


@pytest.mark.parametrize(
    ("script", "answer"),
    [
        (f'echo "{FIT}"; echo "second"', FIT),
        (
            "echo 'NVIDIA-SMI has failed because it could not reach the driver'; exit 9",
            "NVIDIA-SMI has failed",
        ),
        ("exit 0", "nothing"),
    ],
)
def test_the_driver_is_asked_for_the_first_gpu(
    script: str, answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvidia_smi(tmp_path, script)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert install.query_gpu().startswith(answer)


def test_without_a_driver_there_is_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert install.query_gpu() == ""


def test_an_environment_of_the_other_lock_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "PYTHON", Path(sys.executable))
    monkeypatch.setattr(install, "MADE_FOR", tmp_path / "made-for")
    cpu, gpu = install.LOCKS["cpu"], install.LOCKS["gpu"]
    assert install.environment_is_usable(cpu) and not install.environment_is_usable(gpu)
    (tmp_path / "made-for").write_text("gpu")
    assert install.environment_is_usable(gpu) and not install.environment_is_usable(cpu)
    assert install.digest(cpu) != install.digest(gpu)
