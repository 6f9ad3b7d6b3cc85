"""Packed conversations give the loss and the gradients that they give alone."""

from typing import Any

import pytest
import torch
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from training.memory import Batch
from training.packed import BY_CONVERSATION, IGNORED, SHORT, PackedTrainer, attend, largest, pack

SIZES = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}


def llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SIZES, **HEADS, attn_implementation="sdpa"))


def conversation(length: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids, and labels on the last third."""
    ids = torch.randint(50, (length,), generator=torch.Generator().manual_seed(seed))
    labels = ids.clone()
    labels[: 2 * length // 3] = IGNORED
    return ids, labels


def alone(model: LlamaForCausalLM, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    logits = model(input_ids=ids[None]).logits[0, :-1]
    return functional.cross_entropy(logits, labels[1:], ignore_index=IGNORED, reduction="sum")


def packed(model: Any, rows: list[tuple[torch.Tensor, torch.Tensor]], items: int | None) -> torch.Tensor:
    inputs = {
        "input_ids": torch.cat([ids for ids, _ in rows])[None],
        "labels": torch.cat([torch.cat([torch.tensor([IGNORED]), labels[1:]]) for _, labels in rows])[None],
        "position_ids": torch.cat([torch.arange(len(ids)) for ids, _ in rows])[None],
    }
    loss: torch.Tensor = PackedTrainer.compute_loss(None, model, inputs, num_items_in_batch=items)
    return loss


@pytest.mark.parametrize("lengths", [(9, 4, 17), (1, 6), (SHORT + 3, 5)])
def test_packed_is_as_if_each_stood_alone(lengths: tuple[int, ...]) -> None:
    rows = [conversation(length, seed) for seed, length in enumerate(lengths)]
    plain, by_conversation = llama(), llama()
    pack(by_conversation)
    assert by_conversation.config._attn_implementation == BY_CONVERSATION
    count = sum(int((labels[1:] != IGNORED).sum()) for _, labels in rows)

    wanted = torch.stack([alone(plain, ids, labels) for ids, labels in rows]).sum() / count
    wanted.backward()
    loss = packed(by_conversation, rows, None)
    loss.backward()

    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    for (name, one), (_, other) in zip(
        plain.named_parameters(), by_conversation.named_parameters(), strict=True
    ):
        assert torch.allclose(one.grad, other.grad, atol=1e-5), name


def test_the_batch_decides_what_the_sum_is_divided_by() -> None:
    model, rows = llama(), [conversation(12, 3)]
    pack(model)
    labelled = int((rows[0][1][1:] != IGNORED).sum())
    assert packed(model, rows, 2 * labelled).item() == pytest.approx(packed(model, rows, None).item() / 2)


def test_a_model_that_attends_in_its_own_way_keeps_it() -> None:
    model = MistralForCausalLM(MistralConfig(**SIZES, **HEADS, sliding_window=4, attn_implementation="sdpa"))
    pack(model)
    assert model.config._attn_implementation == "sdpa"


def test_rows_that_are_not_packed_are_refused() -> None:
    tensor = torch.zeros(2, 4, 3, 8)
    with pytest.raises(ValueError, match="packed"):
        attend(torch.nn.Module(), tensor, tensor, tensor, None, position_ids=torch.arange(3)[None])


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([(10, 2), (20, 3), (30, 1)], Batch(30, 5, 900)),
        ([(SHORT, 2), (1, 1)], Batch(SHORT + 1, 3, SHORT**2 + 1)),
        ([(SHORT + 1, 2), (1, 1), (9, 9)], Batch(SHORT + 2, 9, 81)),
        ([], Batch(0, 0, 0)),
    ],
)
def test_the_largest_batch_has_the_most_tokens_answers_and_kept_pairs_of_any(
    rows: list[tuple[int, int]], expected: Batch
) -> None:
    encoded = [
        {"input_ids": [1] * length, "labels": [IGNORED] * (length - answer) + [1] * answer}
        for length, answer in rows
    ]
    assert largest(encoded, 2) == expected
