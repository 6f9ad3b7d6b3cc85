"""Several adapters made into one, by PEFT's rules for merging, on the changes themselves.

PEFT merges a LoRA's two factors apart, which adds products of one's A with another's B, or merges what they change
and factors the result (its `…_svd`). This is the second: ranks and targets may differ, and what truncation loses is
known.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft.utils.merge_utils import dare_linear, dare_ties, task_arithmetic, ties
from safetensors.torch import save_file

from adapters.base import BaseModel
from adapters.drift import Factors
from adapters.errors import InvalidAdapter
from adapters.peft_config import CONFIG
from adapters.validation import WEIGHTS, pair_of

Rule = Callable[[list[torch.Tensor], torch.Tensor, float], torch.Tensor]
RULES: Mapping[str, Rule] = {
    "linear": lambda changes, weights, _: task_arithmetic(changes, weights),
    "ties": lambda changes, weights, density: ties(changes, weights, density),
    "dare_linear": lambda changes, weights, density: dare_linear(changes, weights, density),
    "dare_ties": lambda changes, weights, density: dare_ties(changes, weights, density),
}
EXACT_BELOW = 1024
"""Features on the shorter side up to which the decomposition is exact; a randomised one is enough beyond."""


@dataclass(frozen=True)
class Merging:
    """method: of `RULES`. density: share of elements that TIES and DARE keep. rank: of the result."""

    method: str = "linear"
    density: float = 0.5
    rank: int = 16
    seed: int = 0


@dataclass(frozen=True)
class Merged:
    modules: int
    kept: float
    """‖truncated to the rank‖ / ‖merged‖ in Frobenius norms: 1 when nothing was lost."""


def merge(
    parts: Sequence[tuple[Mapping[str, Factors], float]], how: Merging, base: BaseModel, into: Path
) -> Merged:
    """Write the merged adapter's two files into a directory. parts: what each changes, and its weight. Seconds of
    computation: call it in a thread.

    Raises InvalidAdapter when the adapters cancel out.
    """
    names = {module for changes, _ in parts for module in changes}
    endings = sorted({module.rpartition(".")[2] for module in names})
    targets = [module for module in base.modules if module.rpartition(".")[2] in endings]
    weights = torch.tensor([weight for _, weight in parts])
    tensors: dict[str, torch.Tensor] = {}
    whole = kept = 0.0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(how.seed)
        for module in targets:
            changes = [_change(factors.get(module), base.modules[module]) for factors, _ in parts]
            merged = RULES[how.method](changes, weights, how.density)
            down, up, size = _factored(merged, how.rank)
            tensors |= dict(zip(pair_of(module), (down, up), strict=True))
            whole += float(merged.square().sum())
            kept += size
    if not kept:
        raise InvalidAdapter("has no effect: the merged adapters cancel out", WEIGHTS)
    _write(tensors, endings, how.rank, base, into)
    return Merged(len(targets), (kept / whole) ** 0.5)


def _change(factors: Factors | None, shape: tuple[int, int]) -> torch.Tensor:
    """ΔW, (out features, in features); zeros for an adapter that leaves the layer alone."""
    if factors is None:
        return torch.zeros(shape)
    return torch.from_numpy(factors.scale * factors.up @ factors.down).float()


def _factored(change: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor, float]:
    """The nearest product of two factors of this rank (Eckart and Young, 1936), and its squared norm."""
    if min(change.shape) <= EXACT_BELOW:
        left, sizes, right = torch.linalg.svd(change, full_matrices=False)
        right = right.T
    else:
        left, sizes, right = torch.svd_lowrank(change, q=min(rank + 8, min(change.shape)), niter=4)
    count = min(rank, len(sizes))
    roots = sizes[:count].sqrt()
    down, up = torch.zeros(rank, change.shape[1]), torch.zeros(change.shape[0], rank)
    down[:count] = roots[:, None] * right[:, :count].T
    up[:, :count] = left[:, :count] * roots
    return down, up, float(sizes[:count].square().sum())


def _write(
    tensors: Mapping[str, torch.Tensor], endings: Sequence[str], rank: int, base: BaseModel, into: Path
) -> None:
    """PEFT's files; alpha is the rank, so that the product counts as it is."""
    into.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, into / WEIGHTS)
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": base.id,
        "r": rank,
        "lora_alpha": rank,
        "target_modules": endings,
        "bias": "none",
    }
    (into / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
