"""Several conversations in one row without padding, at a processor's pace.

On a processor transformers would compare every token of the row with every other and TRL would score the vocabulary
at every token. Here each conversation attends to itself alone, and only the answers' tokens are scored: the same
loss and gradients in a third of the time (docs/log.md).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import repeat_kv
from trl import SFTTrainer

from training.memory import Batch

IGNORED = -100
"""Label of tokens that do not count, by PyTorch's convention."""
BY_CONVERSATION = "by_conversation"
SHORT = 512
"""Tokens up to which plain attention is quicker on a processor than the fused kernel, whose backward pass costs
1.5 ms however short the conversation."""
_KERNELS = [
    SDPBackend.MATH,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.CUDNN_ATTENTION,
]


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    position_ids: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each conversation. query: shape (1, heads, tokens, head size); position_ids: shape
    (1, tokens), 0 where a conversation begins. Returns (1, tokens, heads, head size), as transformers expects."""
    if position_ids is None or query.shape[0] != 1:
        raise ValueError("this attention is for conversations packed into one row")
    groups = query.shape[1] // key.shape[1]
    lengths = _lengths(position_ids[0])
    parts = [
        tensor.split(lengths, dim=2) for tensor in (query, repeat_kv(key, groups), repeat_kv(value, groups))
    ]
    with sdpa_kernel(_KERNELS[:1] if query.device.type == "cpu" and max(lengths) <= SHORT else _KERNELS):
        outputs = [
            functional.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True, scale=scaling)
            for q, k, v in zip(*parts, strict=True)
        ]
    return torch.cat(outputs, dim=2).transpose(1, 2).contiguous(), None


def largest(rows: Sequence[Mapping[str, Sequence[int]]], size: int) -> Batch:
    """The most of everything that one batch of `size` rows, in their order, holds. rows: `input_ids` and `labels`."""
    found = Batch(0, 0, 0)
    for start in range(0, len(rows), size):
        batch = rows[start : start + size]
        lengths = [len(row["input_ids"]) for row in batch]
        answers = sum(label != IGNORED for row in batch for label in row["labels"])
        pairs = sum(length**2 for length in lengths) if max(lengths) <= SHORT else 0
        found = Batch(max(found.tokens, sum(lengths)), max(found.answers, answers), max(found.pairs, pairs))
    return found


def _lengths(positions: torch.Tensor) -> list[int]:
    """Tokens of each conversation."""
    starts = (positions == 0).nonzero().flatten().tolist()
    return [end - start for start, end in zip(starts, [*starts[1:], len(positions)], strict=True)]


AttentionInterface.register(BY_CONVERSATION, attend)


def pack(model: PreTrainedModel) -> None:
    """Let the model attend by conversation, unless its layers attend in a way of their own."""
    config = model.config.get_text_config()
    own_ways = ("sliding_window", "attention_chunk_size", "attn_logit_softcapping")
    if not any(getattr(config, way, None) for way in own_ways):
        model.set_attn_implementation(BY_CONVERSATION)


class PackedTrainer(SFTTrainer):
    """TRL's trainer with the loss taken at the labelled tokens only."""

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: Mapping[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Mean negative log-likelihood per labelled token of the whole batch."""
        labels = inputs["labels"][0, 1:]
        kept = (labels != IGNORED).nonzero().flatten()
        outputs = model(
            input_ids=inputs["input_ids"],
            position_ids=inputs["position_ids"],
            logits_to_keep=kept,
            use_cache=False,
        )
        logits = outputs.logits[0].float()
        loss = functional.cross_entropy(logits, labels[kept], reduction="sum") / (
            num_items_in_batch or len(kept)
        )
        return (loss, outputs) if return_outputs else loss
