"""How much memory a training takes, before it starts. Pure: numbers about the base model in, bytes out.

The figures per token were fitted to the peaks of real trainings of seven shapes on a processor (docs/memory-needs.md),
bf16 mixed precision, LoRA on all linear layers, no gradient checkpointing.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from training.errors import DoesNotFit
from training.recipe import Recipe

GIB = 2**30
ROW_TOKENS = 128
ANSWER_TOKENS = 24
"""A row as tenants of the demo have them, with passages in three of ten: what is planned with before there are rows."""
_PER_HIDDEN = 52
_PER_INTERMEDIATE = 12
_PER_LOGIT = 10
_PER_PAIR = 8
"""Bytes kept for the backward pass: per token and layer for each hidden and intermediate feature, per answer token for
each word of the vocabulary, per pair of tokens of one row for each head where attention is not fused."""
_LIBRARIES = 150 * 2**20
_DEVICE_CONTEXT = 600 * 2**20
_MARGIN = 1.1


@dataclass(frozen=True)
class Batch:
    """What a step reads, in tokens."""

    tokens: int
    answers: int
    pairs: int
    """Of tokens of one row, where attention keeps them: on a processor, of rows that are not too long."""

    @classmethod
    def alike(cls, rows: int, tokens: int = ROW_TOKENS, answers: int = ANSWER_TOKENS) -> "Batch":
        """Rows of the same length."""
        return cls(rows * tokens, rows * answers, rows * tokens**2)


@dataclass(frozen=True)
class Shape:
    """What of a base model decides how much memory it takes."""

    parameters: int
    linear: int
    """Of them, those in layers that an adapter changes."""
    features: int
    """Sum of inputs and outputs over these layers: parameters of an adapter of rank 1."""
    hidden: int
    intermediate: int
    layers: int
    heads: int
    vocabulary: int


@dataclass(frozen=True)
class Estimate:
    """Bytes, by what takes them."""

    base: int
    cast: int
    """Copies of the base's matrices in bf16 that mixed precision keeps for the backward pass."""
    adapter: int
    """Its weights, their best state, gradients and the optimizer's two moments, float32."""
    activations: int
    libraries: int

    @property
    def beside_base(self) -> int:
        """What training takes once the base model is loaded."""
        return self.cast + self.adapter + self.activations + self.libraries

    @property
    def total(self) -> int:
        return self.base + self.beside_base

    def __str__(self) -> str:
        return ", ".join(f"{name} {gib(size)}" for name, size in asdict(self).items())


def shape_of(config: Mapping[str, Any], modules: Mapping[str, tuple[int, int]]) -> Shape:
    """From a base model's config.json and its linear layers, (outputs, inputs) by name."""
    text = config.get("text_config", config)
    hidden, vocabulary = int(text["hidden_size"]), int(text["vocab_size"])
    linear = sum(out * into for out, into in modules.values())
    tied = text.get("tie_word_embeddings", config.get("tie_word_embeddings", True))
    return Shape(
        parameters=linear + vocabulary * hidden * (1 if tied else 2),
        linear=linear,
        features=sum(out + into for out, into in modules.values()),
        hidden=hidden,
        intermediate=int(text.get("intermediate_size", 4 * hidden)),
        layers=int(text["num_hidden_layers"]),
        heads=int(text["num_attention_heads"]),
        vocabulary=vocabulary,
    )


def estimate(
    shape: Shape, recipe: Recipe, weight_bytes: int, *, gpu: bool = False, batch: Batch | None = None
) -> Estimate:
    """weight_bytes: 4 for a base model held in float32, 2 in bfloat16. batch: the largest; None: of usual rows."""
    batch = batch or Batch.alike(recipe.batch_size)
    per_token = _PER_HIDDEN * shape.hidden + _PER_INTERMEDIATE * shape.intermediate
    pairs = 0 if gpu else _PER_PAIR * shape.heads * batch.pairs
    kept = shape.layers * (batch.tokens * per_token + pairs) * (1 if recipe.bf16 else 2)
    activations = kept + batch.answers * _PER_LOGIT * shape.vocabulary
    return Estimate(
        base=shape.parameters * weight_bytes,
        cast=2 * shape.linear if recipe.bf16 and weight_bytes == 4 else 0,
        adapter=5 * 4 * recipe.rank * shape.features,
        activations=int(_MARGIN * activations),
        libraries=_LIBRARIES + (_DEVICE_CONTEXT if gpu else 0),
    )


def require(needed: int, free: int, what: Estimate) -> None:
    """Raises DoesNotFit with both figures and what the memory would go to."""
    if needed > free:
        raise DoesNotFit(
            f"training would take {gib(needed)} of memory and {gib(free)} are free ({what}); a smaller batch_size or "
            "rank, GRAFT_LEARNER_DTYPE=bfloat16, a smaller base model or, on a GPU, a larger "
            "GRAFT_LEARNER_GPU_SHARE would help"
        )


def gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
