"""Whether an adapter's files may reach an engine. vLLM answers 500 to a bad one, or serves nonsense: we
refuse first.

Only `adapter_config.json` and `adapter_model.safetensors` are read. Whatever can run code when it is loaded
is refused by name, unread.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np

from adapters.base import BaseModel
from adapters.errors import InvalidAdapter
from adapters.peft_config import CONFIG, read_config
from adapters.tensors import Floats, NotTensors, Tensor, read_tensors

WEIGHTS = "adapter_model.safetensors"
MAX_MAGNITUDE = 100.0
"""Larger weights overflow inside the network. An engine that once computed NaN may go on to answer every
tenant with it, out of its cache, until it is restarted: what could is refused here, not tried."""
MAX_WEIGHTS_BYTES = 2 * 1024**3
_NOISE = 1e-6
"""Share of ‖B‖·‖A‖ below which ‖B·A‖ is rounding: far less than half precision keeps of a trained adapter."""
_CODE_SUFFIXES = frozenset(
    {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz", ".py"}
)
_PEFT_PREFIX = "base_model.model."


@dataclass(frozen=True)
class AdapterShape:
    """What a valid adapter is made of."""

    rank: int
    """The largest over its modules."""
    alpha: float
    modules: Sequence[str]
    """Linear layers of the base model that it changes."""
    parameters: int
    size_bytes: int
    """Of the weights file."""


def validate(directory: Path, base: BaseModel, max_rank: int) -> AdapterShape:
    """Check a PEFT adapter's folder against the base model it shall run on. Reads everything, a tensor at a
    time: call it in a thread.

    Raises InvalidAdapter at the first thing that is wrong, naming the file, setting or tensor.
    """
    _check_files(directory)
    config = read_config(directory / CONFIG)
    targets = config.targets(list(base.modules))
    ranks = {module: config.rank_of(module) for module in targets}
    _check_ranks(ranks, max_rank)
    tensors = _tensors(directory / WEIGHTS)
    _check_names(tensors, targets)
    for module in targets:
        _check_module(module, tensors, base.modules[module], ranks[module])
    _check_effect(tensors, targets)
    return AdapterShape(
        rank=max(ranks.values()),
        alpha=config.alpha,
        modules=targets,
        parameters=sum(math.prod(tensor.shape) for tensor in tensors.values()),
        size_bytes=(directory / WEIGHTS).stat().st_size,
    )


def refuse_code(name: str) -> None:
    """Raises InvalidAdapter for a file's name that says that loading it runs code."""
    if PurePath(name).suffix.lower() in _CODE_SUFFIXES:
        raise InvalidAdapter("files that can run code are refused; save as safetensors", name)


def _check_files(directory: Path) -> None:
    for path in sorted(directory.iterdir()):
        refuse_code(path.name)
        if path.is_symlink() or not path.is_file():
            raise InvalidAdapter("only plain files are allowed", path.name)
    for name in (CONFIG, WEIGHTS):
        if not (directory / name).exists():
            raise InvalidAdapter("is missing", name)
    if (directory / WEIGHTS).stat().st_size > MAX_WEIGHTS_BYTES:
        raise InvalidAdapter(f"is larger than {MAX_WEIGHTS_BYTES} bytes", WEIGHTS)


def _check_ranks(ranks: Mapping[str, int], max_rank: int) -> None:
    if not ranks:
        raise InvalidAdapter("selects no layer of the base model", "target_modules")
    if max(ranks.values()) > max_rank:
        raise InvalidAdapter(f"rank {max(ranks.values())} is over the engine's limit of {max_rank}", "r")


def _tensors(path: Path) -> Mapping[str, Tensor]:
    try:
        tensors = read_tensors(path)
    except (NotTensors, OSError) as error:
        raise InvalidAdapter(f"is not a safetensors file: {error}", WEIGHTS) from error
    for name, tensor in tensors.items():
        if not tensor.is_float:
            raise InvalidAdapter(f"has type {tensor.dtype}, which no LoRA weight has", name)
    return tensors


def pair_of(module: str) -> tuple[str, str]:
    """Names of a module's two tensors as PEFT writes them."""
    return f"{_PEFT_PREFIX}{module}.lora_A.weight", f"{_PEFT_PREFIX}{module}.lora_B.weight"


def _check_names(tensors: Mapping[str, Tensor], targets: Sequence[str]) -> None:
    expected = {name for module in targets for name in pair_of(module)}
    for name in sorted(tensors.keys() - expected):
        raise InvalidAdapter("is not part of a layer that target_modules names in this base model", name)
    for name in sorted(expected - tensors.keys()):
        raise InvalidAdapter("is missing", name)


def _check_module(module: str, tensors: Mapping[str, Tensor], features: tuple[int, int], rank: int) -> None:
    out_features, in_features = features
    down, up = pair_of(module)
    for name, shape in ((down, (rank, in_features)), (up, (out_features, rank))):
        if tensors[name].shape != shape:
            raise InvalidAdapter(f"has shape {tensors[name].shape}, this base model needs {shape}", name)
        values = tensors[name].values()
        if not np.isfinite(values).all():
            raise InvalidAdapter("holds values that are not finite numbers", name)
        if np.abs(values).max() > MAX_MAGNITUDE:
            raise InvalidAdapter(f"holds values over {MAX_MAGNITUDE:g}, which no trained LoRA has", name)


def _check_effect(tensors: Mapping[str, Tensor], targets: Sequence[str]) -> None:
    """Training begins with every B at zero: an adapter in which no layer's B·A is more than that would cost a slot and
    do nothing."""
    if not any(_changes(*(tensors[name].values() for name in pair_of(module))) for module in targets):
        raise InvalidAdapter(
            "has no effect: no layer has a lora_A and a lora_B whose product is not zero", WEIGHTS
        )


def _changes(down: Floats, up: Floats) -> bool:
    """Whether up · down, as large as the base model's layer and so not computed, is more than the rounding of its own
    norm; see `adapters.drift`."""
    a, b = down.astype(np.float64), up.astype(np.float64)
    largest = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(((b.T @ b) * (a @ a.T)).sum()) > (_NOISE * largest) ** 2
