"""The part of the engine plugin that is arithmetic; tests/integration/test_adapters_vllm.py has it in the engine."""

import pytest
import torch

from adapters.vllm_plugin import keep_base_rows, sleeping_briefly


def expand(
    inputs: torch.Tensor, weights: torch.Tensor, output: torch.Tensor, indices: torch.Tensor, add: bool = True
) -> None:
    """As vLLM does it: an index of -1 picks the last slot."""
    assert add
    output += torch.einsum("bi,boi->bo", inputs, weights[indices].squeeze(1))


def expanded(indices: list[int]) -> torch.Tensor:
    """The output of three rows with two slots: slot 0 adds 1, slot 1 adds 10."""
    weights = torch.stack([torch.full((1, 2, 1), 1.0), torch.full((1, 2, 1), 10.0)])
    output = torch.zeros(3, 2)
    keep_base_rows(expand)(torch.ones(3, 1), weights, output, torch.tensor(indices), add=True)
    return output[:, 0]


def test_rows_of_the_base_model_stay_as_they_are() -> None:
    assert expanded([0, -1, 1]).tolist() == [1.0, 0.0, 10.0]


def test_a_batch_of_adapters_alone_is_not_changed() -> None:
    assert expanded([1, 0, 0]).tolist() == [10.0, 1.0, 1.0]


def test_a_batch_of_the_base_model_alone_is_not_changed() -> None:
    assert expanded([-1, -1, -1]).tolist() == [0.0, 0.0, 0.0]


def test_not_even_nan_in_the_last_slot_reaches_the_base_model() -> None:
    weights = torch.full((2, 1, 2, 1), float("nan"))
    output = torch.zeros(1, 2)
    keep_base_rows(expand)(torch.ones(1, 1), weights, output, torch.tensor([-1]))
    assert output.tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize(("wanted", "given"), [(None, 10), (5000, 10), (3, 3), (0, 0)])
def test_a_queue_looks_by_itself_after_ten_milliseconds(wanted: int | None, given: int) -> None:
    waited: list[int | None] = []
    sleeping_briefly(lambda _, timeout_ms=None: waited.append(timeout_ms))(object(), timeout_ms=wanted)
    assert waited == [given]
