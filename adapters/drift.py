"""How far adapters move their base model, and how alike two of them are, from their factors alone.

A LoRA's change of a layer is ΔW = s·B·A, as large as W, but of rank r. Its Frobenius products need only r×r
matrices, because tr(XYZ) = tr(ZXY):

    ⟨ΔW₁, ΔW₂⟩ = s₁s₂ · tr(A₁ᵀB₁ᵀB₂A₂) = s₁s₂ · Σ (B₁ᵀB₂ ∘ A₁A₂ᵀ)
"""

import json
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from adapters.base import BaseModel
from adapters.errors import BadBaseModel
from adapters.peft_config import CONFIG, read_config
from adapters.tensors import NotTensors, Tensor, read_tensors
from adapters.validation import WEIGHTS, pair_of

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Factors:
    """One layer's ΔW = scale · up · down. down: (rank, in features); up: (out features, rank)."""

    down: Matrix
    up: Matrix
    scale: float

    def dot(self, other: "Factors") -> float:
        """The sum over all elements of ΔW ∘ other's ΔW."""
        grams = (self.up.T @ other.up) * (self.down @ other.down.T)
        return self.scale * other.scale * float(grams.sum())


@dataclass(frozen=True)
class Drift:
    """‖ΔW‖ / ‖W‖ in Frobenius norms."""

    total: float
    """Over all linear layers of the base model, those that the adapter leaves alone included."""
    modules: Mapping[str, float]


@dataclass(frozen=True)
class Similarity:
    """Cosines between two adapters' changes: 1 the same direction, 0 unrelated, -1 the opposite."""

    total: float
    modules: Mapping[str, float]
    """Layers that both change."""


def read_factors(directory: Path, base: BaseModel) -> Mapping[str, Factors]:
    """The layers that an adapter changes, from files that were validated. Raises InvalidAdapter."""
    config = read_config(directory / CONFIG)
    tensors = read_tensors(directory / WEIGHTS)
    found = {}
    for module in config.targets(list(base.modules)):
        down, up = pair_of(module)
        found[module] = Factors(_exact(tensors[down]), _exact(tensors[up]), config.scale_of(module))
    return found


def drift(adapter: Mapping[str, Factors], base: Mapping[str, float]) -> Drift:
    """base: ‖W‖ of every linear layer."""
    squares = {module: max(0.0, factors.dot(factors)) for module, factors in adapter.items()}
    whole = math.sqrt(sum(norm**2 for norm in base.values()))
    return Drift(
        total=_ratio(math.sqrt(sum(squares.values())), whole),
        modules={module: _ratio(math.sqrt(square), base[module]) for module, square in squares.items()},
    )


def similarity(one: Mapping[str, Factors], other: Mapping[str, Factors]) -> Similarity:
    """A layer that only one of them changes counts in the total as unlike."""
    common = {module: one[module].dot(other[module]) for module in one if module in other}
    sizes = [{module: factors.dot(factors) for module, factors in each.items()} for each in (one, other)]
    whole = math.sqrt(sum(sizes[0].values()) * sum(sizes[1].values()))
    return Similarity(
        total=_ratio(sum(common.values()), whole),
        modules={
            module: _ratio(product, math.sqrt(sizes[0][module] * sizes[1][module]))
            for module, product in common.items()
        },
    )


def base_norms(base: BaseModel, cache: Path) -> Mapping[str, float]:
    """‖W‖ of every linear layer of the base model. Reading all weights takes about a second per gigabyte, so
    the result is kept in the directory `cache`, under the base model's digest. Call it in a thread.

    Raises BadBaseModel for weights that are no floating-point numbers.
    """
    kept = cache / f"{base.digest.removeprefix('sha256:')}.json"
    try:
        known: dict[str, float] = json.loads(kept.read_bytes())
        if known.keys() == base.modules.keys():
            return known
    except (OSError, ValueError):
        pass
    norms = _measured(base)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=cache, delete=False) as file:
        json.dump(norms, file)
    os.replace(file.name, kept)
    return norms


def _measured(base: BaseModel) -> dict[str, float]:
    norms = {}
    try:
        for path in sorted(base.path.glob("*.safetensors")):
            for name, tensor in read_tensors(path).items():
                module = name.removesuffix(".weight")
                if module != name and module in base.modules:
                    norms[module] = float(np.linalg.norm(_exact(tensor)))
    except NotTensors as error:
        raise BadBaseModel(base.path, f"its weights cannot be measured: {error}") from error
    return norms


def _exact(tensor: Tensor) -> Matrix:
    return tensor.values().astype(np.float64)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
