"""What training may take of a GPU, with PyTorch's figures given."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from adapters.base import describe_base
from training import executor
from training.device import free_memory
from training.errors import DoesNotFit
from training.executor import LocalExecutor
from training.learner import Learner

GIB = 2**30


@pytest.mark.parametrize(
    ("free", "allocated", "reserved", "share", "expected"),
    [
        (20, 0, 0, 1.0, 20),
        (20, 0, 0, 0.45, 10.8),
        (5, 0, 0, 0.45, 5),
        (8, 2, 9, 0.45, 8.8),
        (2, 2, 9, 1.0, 9),
    ],
    ids=["all of it", "its share", "what others left", "its share less the base", "what it keeps itself"],
)
def test_a_gpu_gives_what_is_free_up_to_the_learners_share(
    monkeypatch: pytest.MonkeyPatch,
    free: int,
    allocated: int,
    reserved: int,
    share: float,
    expected: float,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free * GIB, 24 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: allocated * GIB)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: reserved * GIB)
    assert free_memory(share) == pytest.approx(expected * GIB, abs=1)


async def test_a_base_model_that_cannot_fit_is_not_loaded(
    base_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def little(share: float) -> int:
        asked.append(share)
        return GIB // 10

    def load(*_: object) -> None:
        raise AssertionError("loaded")

    monkeypatch.setattr(executor, "free_memory", little)
    monkeypatch.setattr(executor, "WarmBase", load)
    made = LocalExecutor(describe_base(base_model), 1, gpu_share=0.3)
    with pytest.raises(DoesNotFit, match=r"0\.1 GiB are free"):
        await made.warm()
    made.close()
    assert asked == [0.3]


async def test_a_learner_whose_base_model_cannot_fit_ends() -> None:
    async def warm() -> None:
        raise DoesNotFit("too large")

    shop = SimpleNamespace(executor=SimpleNamespace(warm=warm))
    learner = Learner(None, None, None, shop, "one")  # type: ignore[arg-type]
    with pytest.raises(DoesNotFit):
        await learner._forever(learner._present, 0.0)
