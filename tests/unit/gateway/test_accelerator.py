"""Whether an engine fits on a GPU, asked of a driver that is given."""

import json
from pathlib import Path

import pytest

from gateway.accelerator import engine_share, require_gpu
from gateway.launch_errors import LaunchError


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """As large as 8 billion parameters in bfloat16; nothing of it is on the disk."""
    directory = tmp_path / "8b"
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps({"dtype": "bfloat16"}))
    with (directory / "model.safetensors").open("wb") as file:
        file.truncate(15 * 2**30)
    return directory


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory on the path where a test puts its nvidia-smi."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory), prepend=":")
    return directory


def show(driver: Path, mib: str) -> None:
    program = driver / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho '{mib}'\n")
    program.chmod(0o755)


def test_an_engine_that_fits_beside_the_learner_may_start(base: Path, driver: Path) -> None:
    show(driver, "81559")
    require_gpu(base, 0.45)


def test_one_that_does_not_fit_is_refused_with_what_it_would_take(base: Path, driver: Path) -> None:
    show(driver, "24576")
    with pytest.raises(
        LaunchError, match=r"17\.0 GiB of the GPU's 24\.0 GiB to serve 8b, and gets 12\.0 GiB"
    ):
        require_gpu(base, 0.45)
    require_gpu(base, 0.2)


def test_float32_weights_are_held_in_half(base: Path, driver: Path) -> None:
    show(driver, "24576")
    (base / "config.json").write_text(json.dumps({"torch_dtype": "float32"}))
    require_gpu(base, 0.45)


def test_a_learner_that_takes_all_leaves_nothing(base: Path, driver: Path) -> None:
    show(driver, "81559")
    with pytest.raises(LaunchError, match=r"gets 0\.0 GiB"):
        require_gpu(base, 1.0)


def test_a_driver_without_a_gpu_is_an_error_that_names_the_way_out(base: Path, driver: Path) -> None:
    show(driver, "No devices were found")
    with pytest.raises(LaunchError, match="GRAFT_ACCELERATOR=cpu"):
        require_gpu(base, 0.45)


@pytest.mark.parametrize("share", [0.1, 0.33, 0.45, 0.8])
def test_engine_and_learner_leave_a_twentieth(share: float) -> None:
    assert share + engine_share(share) == pytest.approx(0.95)
