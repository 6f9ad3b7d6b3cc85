"""Whether an adapter's files may reach an engine. vLLM answers 500 to a bad one, or serves nonsense: we
refuse first.

Only `adapter_config.json` and `adapter_model.safetensors` are read. Whatever can run code when it is loaded
is refused by name, unread.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import safetensors

from adapters.base import BaseModel
from adapters.errors import InvalidAdapter
from adapters.peft_config import CONFIG, read_config

WEIGHTS = "adapter_model.safetensors"
MAX_MAGNITUDE = 100.0
"""Larger weights overflow inside the network. An engine that once computed NaN may go on to answer every
tenant with it, out of its cache, until it is restarted: what could is refused here, not tried."""
MAX_WEIGHTS_BYTES = 2 * 1024**3
_CODE_SUFFIXES = frozenset(
    {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz", ".py"}
)
_PEFT_PREFIX = "base_model.model."
_FLOATS: Mapping[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
}

_deserialize = cast(Callable[[bytes], list[tuple[str, dict[str, Any]]]], safetensors.deserialize)
_Floats = npt.NDArray[np.floating[Any]]


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


@dataclass(frozen=True)
class _Tensor:
    dtype: str
    shape: tuple[int, ...]
    data: bytes

    def values(self) -> _Floats:
        """The numbers; bfloat16, which numpy lacks, is the upper half of a float32."""
        raw = np.frombuffer(self.data, _FLOATS[self.dtype])
        if self.dtype == "BF16":
            raw = (raw.astype("<u4") << 16).view("<f4")
        return cast(_Floats, raw)


def validate(directory: Path, base: BaseModel, max_rank: int) -> AdapterShape:
    """Check a PEFT adapter's folder against the base model it shall run on. Reads everything: call it in a
    thread.

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
    _check_effect(tensors)
    return AdapterShape(
        rank=max(ranks.values()),
        alpha=config.alpha,
        modules=targets,
        parameters=sum(math.prod(tensor.shape) for tensor in tensors.values()),
        size_bytes=(directory / WEIGHTS).stat().st_size,
    )


def _check_files(directory: Path) -> None:
    for path in sorted(directory.iterdir()):
        if path.suffix.lower() in _CODE_SUFFIXES:
            raise InvalidAdapter("files that can run code are refused; save as safetensors", path.name)
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


def _tensors(path: Path) -> Mapping[str, _Tensor]:
    try:
        listed = _deserialize(path.read_bytes())
    except safetensors.SafetensorError as error:
        raise InvalidAdapter(f"is not a safetensors file: {error}", WEIGHTS) from error
    tensors = {name: _Tensor(info["dtype"], tuple(info["shape"]), info["data"]) for name, info in listed}
    for name, tensor in tensors.items():
        if tensor.dtype not in _FLOATS:
            raise InvalidAdapter(f"has type {tensor.dtype}, which no LoRA weight has", name)
    return tensors


def _pair(module: str) -> tuple[str, str]:
    """Names of a module's two tensors as PEFT writes them."""
    return f"{_PEFT_PREFIX}{module}.lora_A.weight", f"{_PEFT_PREFIX}{module}.lora_B.weight"


def _check_names(tensors: Mapping[str, _Tensor], targets: Sequence[str]) -> None:
    expected = {name for module in targets for name in _pair(module)}
    for name in sorted(tensors.keys() - expected):
        raise InvalidAdapter("is not part of a layer that target_modules names in this base model", name)
    for name in sorted(expected - tensors.keys()):
        raise InvalidAdapter("is missing", name)


def _check_module(module: str, tensors: Mapping[str, _Tensor], features: tuple[int, int], rank: int) -> None:
    out_features, in_features = features
    down, up = _pair(module)
    for name, shape in ((down, (rank, in_features)), (up, (out_features, rank))):
        if tensors[name].shape != shape:
            raise InvalidAdapter(f"has shape {tensors[name].shape}, this base model needs {shape}", name)
        values = tensors[name].values()
        if not np.isfinite(values).all():
            raise InvalidAdapter("holds values that are not finite numbers", name)
        if np.abs(values).max() > MAX_MAGNITUDE:
            raise InvalidAdapter(f"holds values over {MAX_MAGNITUDE:g}, which no trained LoRA has", name)


def _check_effect(tensors: Mapping[str, _Tensor]) -> None:
    """Training begins with every B at zero: an adapter in which they still are would cost a slot and do
    nothing."""
    if not any(tensor.values().any() for name, tensor in tensors.items() if name.endswith(".lora_B.weight")):
        raise InvalidAdapter("has no effect: every lora_B is zero", WEIGHTS)
