"""Adapters of random weights in PEFT's files: nothing was learned, but every answer is another one."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from adapters.base import BaseModel

ALPHA = 16
Write = Callable[..., Path]
"""By a seed, and a strength."""


def write_adapter(
    directory: Path, base: BaseModel, seed: int, *, rank: int = 8, strength: float = 0.3
) -> Path:
    """A LoRA over every linear layer. strength: deviation of B's elements; 0 has no effect at all."""
    directory.mkdir(parents=True)
    random = np.random.default_rng(seed)
    tensors: dict[str, np.ndarray] = {}
    for module, (out_features, in_features) in base.modules.items():
        prefix = f"base_model.model.{module}"
        down, up = random.normal(0, 0.05, (rank, in_features)), random.normal(0, 1, (out_features, rank))
        tensors[f"{prefix}.lora_A.weight"] = down.astype(np.float32)
        tensors[f"{prefix}.lora_B.weight"] = (up * strength).astype(np.float32)
    save_file(tensors, directory / "adapter_model.safetensors")
    targets = sorted({module.rpartition(".")[2] for module in base.modules})
    config = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": ALPHA,
        "target_modules": targets,
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
