"""What training would take on base models that are not here yet, before anything is downloaded.

Usage: python -m training.shapes [config.json ...] [--batch-size N ...] [--rank N]

Prints docs/memory-needs.md's table for well-known shapes, or for those of the given files.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.memory import GIB, Shape, estimate, shape_of
from training.recipe import Recipe

_QWEN = {"vocab_size": 151_936, "num_key_value_heads": 2, "tie_word_embeddings": True}
KNOWN: Mapping[str, Mapping[str, Any]] = {
    "0.5B": _QWEN
    | {"hidden_size": 896, "num_hidden_layers": 24, "intermediate_size": 4864, "num_attention_heads": 14},
    "1.5B": _QWEN
    | {"hidden_size": 1536, "num_hidden_layers": 28, "intermediate_size": 8960, "num_attention_heads": 12},
    "3B": _QWEN
    | {"hidden_size": 2048, "num_hidden_layers": 36, "intermediate_size": 11_008, "num_attention_heads": 16},
    "8B": {
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "intermediate_size": 14_336,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128_256,
        "tie_word_embeddings": False,
    },
}
"""From the config.json of Qwen 2.5 (0.5B, 1.5B, 3B) and Llama 3.1 (8B)."""
_KINDS = [(gpu, dtype) for gpu in (False, True) for dtype in (4, 2)]
_HEADINGS = ["base", "batch", "processor, float32", "processor, bfloat16", "GPU, float32", "GPU, bfloat16"]


def linear_layers(config: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """(outputs, inputs) of each linear layer by name, for a decoder laid out as Llama and Qwen are."""
    hidden, wide, heads = (
        int(config[name]) for name in ("hidden_size", "intermediate_size", "num_attention_heads")
    )
    head = int(config.get("head_dim") or hidden // heads)
    queries, keys = heads * head, int(config.get("num_key_value_heads") or heads) * head
    sides = {
        "self_attn.q_proj": (queries, hidden),
        "self_attn.k_proj": (keys, hidden),
        "self_attn.v_proj": (keys, hidden),
        "self_attn.o_proj": (hidden, queries),
        "mlp.gate_proj": (wide, hidden),
        "mlp.up_proj": (wide, hidden),
        "mlp.down_proj": (hidden, wide),
    }
    return {
        f"model.layers.{layer}.{name}": side
        for layer in range(int(config["num_hidden_layers"]))
        for name, side in sides.items()
    }


def shape(config: Mapping[str, Any]) -> Shape:
    return shape_of(config, linear_layers(config))


def row(name: str, known: Shape, recipe: Recipe) -> list[str]:
    """The cells of a base's line, in GiB in all."""
    totals = [estimate(known, recipe, weight_bytes, gpu=gpu).total for gpu, weight_bytes in _KINDS]
    return [name, str(recipe.batch_size), *(f"{total / GIB:.1f}" for total in totals)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="training.shapes")
    parser.add_argument(
        "configs", nargs="*", type=Path, help="config.json of base models (default: known ones)"
    )
    parser.add_argument("--batch-size", nargs="+", type=int, default=[32, 8])
    parser.add_argument("--rank", type=int, default=16)
    given = parser.parse_args()
    configs = {str(path): json.loads(path.read_bytes()) for path in given.configs} or KNOWN
    lines = [_HEADINGS, ["---"] * len(_HEADINGS)]
    for name, config in configs.items():
        recipes = [Recipe(batch_size=size, rank=given.rank) for size in given.batch_size]
        lines += [row(name, shape(config), recipe) for recipe in recipes]
    for line in lines:
        print(f"| {' | '.join(line)} |")


if __name__ == "__main__":
    main()
