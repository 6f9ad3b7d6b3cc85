from pathlib import Path

import pytest
import torch

from training import checkpoints
from training.checkpoints import Checkpoint, Pace

ONE = Checkpoint(
    {"weights.a": torch.arange(3.0), "random.cpu": torch.get_rng_state()}, {"step": 1, "lr": 0.1 + 0.2}
)


def test_a_checkpoint_is_read_as_it_was_written(tmp_path: Path) -> None:
    checkpoints.write(tmp_path / "c", "key", ONE)
    found = checkpoints.read(tmp_path / "c", "key")
    assert found is not None and (found.step, found.values) == (1, ONE.values)
    assert torch.equal(found.part("weights")["a"], ONE.tensors["weights.a"])
    assert torch.equal(found.part("random")["cpu"], ONE.tensors["random.cpu"])


def test_only_one_checkpoint_is_kept(tmp_path: Path) -> None:
    for step in (1, 2):
        checkpoints.write(tmp_path / "c", "key", Checkpoint(ONE.tensors, {"step": step}))
    found = checkpoints.read(tmp_path / "c", "key")
    assert found is not None and found.step == 2
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_a_checkpoint_of_another_training_is_none(tmp_path: Path) -> None:
    checkpoints.write(tmp_path / "c", "key", ONE)
    assert checkpoints.read(tmp_path / "c", "other") is None
    assert checkpoints.read(tmp_path / "absent", "key") is None


@pytest.mark.parametrize("cut", [0, 4, 100, -1])
def test_a_damaged_checkpoint_is_none(tmp_path: Path, cut: int) -> None:
    checkpoints.write(tmp_path / "c", "key", ONE)
    (tmp_path / "c").write_bytes((tmp_path / "c").read_bytes()[:cut])
    assert checkpoints.read(tmp_path / "c", "key") is None


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    torch.save({"weights.a": torch.ones(1)}, tmp_path / "c")
    assert checkpoints.read(tmp_path / "c", "key") is None


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints.write(tmp_path / "c", "key", ONE)

    def full(_path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "_sync", full)
    with pytest.raises(OSError):
        checkpoints.write(tmp_path / "c", "key", Checkpoint(ONE.tensors, {"step": 2}))
    found = checkpoints.read(tmp_path / "c", "key")
    assert found is not None and found.step == 1
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_a_directory_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        checkpoints.write(tmp_path / "gone" / "c", "key", ONE)


def test_the_same_training_has_the_same_key() -> None:
    assert checkpoints.key_of([{"a": 1, "b": 2}]) == checkpoints.key_of([{"b": 2, "a": 1}])
    assert checkpoints.key_of([1]) != checkpoints.key_of([2])


@pytest.mark.parametrize("cost", [0.001, 0.05, 1.0, 20.0])
def test_checkpoints_take_their_share_of_the_time_at_most(cost: float) -> None:
    clock = [0.0]
    pace, spent = Pace(lambda: clock[0]), 0.0
    for _ in range(10_000):
        clock[0] += 0.4
        if pace.due():
            with pace.spending():
                clock[0] += cost
            spent += cost
    assert 0 < spent <= checkpoints.SHARE * clock[0] + cost


def test_a_short_training_writes_none() -> None:
    clock = [0.0]
    pace = Pace(lambda: clock[0])
    clock[0] = checkpoints.LEAST_SECONDS - 0.1
    assert not pace.due()
