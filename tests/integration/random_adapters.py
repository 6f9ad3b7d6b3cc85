"""Adapters in PEFT's files that were never trained: every answer is another one, or one word without end."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from adapters.base import BaseModel

ALPHA = 16
RANK = 8
FREQUENT = 289, 351, 262, 263, 264, 266, 267, 268
"""Tokens of the committed base model that it uses often. The rows of rare ones are all much the same."""
Write = Callable[..., Path]
"""By a seed, and a strength."""
Factors = dict[str, tuple[np.ndarray, np.ndarray]]
"""By module; A of (rank, in features), B of (out features, rank)."""


def write_adapter(
    directory: Path, base: BaseModel, seed: int, *, rank: int = RANK, strength: float = 0.3
) -> Path:
    """A LoRA over every linear layer. strength: deviation of B's elements; 0 has no effect at all."""
    return _written(directory, _random(base, seed, rank, strength))


def write_repeater(directory: Path, base: BaseModel, token: int) -> Path:
    """A LoRA that says one token without end, so far ahead of the others that rounding changes nothing. Long answers
    of random weights have ties: what an engine computes at the same time decides them.

    token: one of `FREQUENT`. It is as large as another: most layers get next to nothing. The last adds the token's
    embedding: `RANK` units of the MLP each get one direction twice, as gate and as value, and silu(z) * z is never
    negative, whatever was said before.
    """
    with safe_open(base.path / "model.safetensors", "pt") as weights:
        embedding = weights.get_slice("model.embed_tokens.weight")[token].float().numpy()
    last = f"model.layers.{base.layers - 1}.mlp"
    hidden, units = base.modules[f"{last}.down_proj"]
    seen = np.random.default_rng(token).normal(0, 1, (RANK, hidden))
    chosen = np.eye(RANK, units)
    told = np.tile(embedding / np.linalg.norm(embedding), (RANK, 1)).T
    factors = _random(base, token, RANK, 1e-6) | {
        f"{last}.gate_proj": (seen, chosen.T),
        f"{last}.up_proj": (seen, chosen.T),
        f"{last}.down_proj": (chosen, told * 10),
    }
    return _written(directory, factors)


def _random(base: BaseModel, seed: int, rank: int, strength: float) -> Factors:
    random = np.random.default_rng(seed)
    factors = {}
    for module, (out_features, in_features) in base.modules.items():
        down, up = random.normal(0, 0.05, (rank, in_features)), random.normal(0, 1, (out_features, rank))
        factors[module] = down, up * strength
    return factors


def _written(directory: Path, factors: Factors) -> Path:
    directory.mkdir(parents=True)
    tensors = {
        f"base_model.model.{module}.lora_{letter}.weight": np.ascontiguousarray(factor, dtype=np.float32)
        for module, pair in factors.items()
        for letter, factor in zip("AB", pair, strict=True)
    }
    save_file(tensors, directory / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "r": next(len(down) for down, _ in factors.values()),
        "lora_alpha": ALPHA,
        "target_modules": sorted({module.rpartition(".")[2] for module in factors}),
        "bias": "none",
    }
    (directory / "adapter_config.json").write_text(json.dumps(config))
    return directory


def packed(directory: Path) -> bytes:
    """A `.tar.gz` of a folder's files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        archive.add(directory, arcname=".")
    return out.getvalue()
