"""Whether an adapter's files may reach an engine. vLLM answers 500 to a bad one, or serves nonsense: we
refuse first.

Only `adapter_config.json` and `adapter_model.safetensors` are read. Whatever can run code when it is loaded
is refused by name, unread.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import safetensors

from adapters.base import BaseModel
from adapters.errors import InvalidAdapter

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
MAX_WEIGHTS_BYTES = 2 * 1024**3
_CODE_SUFFIXES = frozenset(
    {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz", ".py"}
)
_PEFT_PREFIX = "base_model.model."
_UNSUPPORTED = {
    "use_dora": "DoRA is not supported by the engine; train a plain LoRA",
    "use_qalora": "QALoRA is not supported by the engine",
    "use_bdlora": "block-diagonal LoRA is not supported by the engine",
    "lora_bias": "biases in LoRA layers are not supported by the engine",
    "alora_invocation_tokens": "activated LoRA is not supported by the engine",
    "layer_replication": "replicated layers change the base model",
    "modules_to_save": "whole trained modules replace base weights, which every tenant shares",
    "trainable_token_indices": "trained token embeddings change the base model",
    "target_parameters": "LoRA on bare parameters is not supported by the engine",
    "fan_in_fan_out": "transposed weights do not match this base model",
    "arrow_config": "routing between adapters is not supported by the engine",
}
"""Settings that must be absent, false or empty, and why."""
_HARMLESS_INITS = frozenset({"gaussian", "eva", "orthogonal", "mica", "lora_ga"})
"""Initialisations that leave the base weights as they are; PiSSA, OLoRA, CorDA and LoftQ do not."""
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.]+")
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
    config = _config(directory / CONFIG)
    _check_config(config)
    targets = _targets(config, base)
    tensors = _tensors(directory / WEIGHTS)
    ranks = {module: _rank(config, module) for module in targets}
    _check_ranks(ranks, max_rank)
    _check_names(tensors, targets)
    for module in targets:
        _check_module(module, tensors, base.modules[module], ranks[module])
    _check_effect(tensors)
    return AdapterShape(
        rank=max(ranks.values()),
        alpha=_number(config, "lora_alpha"),
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


def _config(path: Path) -> Mapping[str, Any]:
    try:
        config = json.loads(path.read_bytes())
    except ValueError as error:
        raise InvalidAdapter("is not JSON", CONFIG) from error
    if not isinstance(config, dict):
        raise InvalidAdapter("is not a JSON object", CONFIG)
    return config


def _check_config(config: Mapping[str, Any]) -> None:
    if config.get("peft_type") != "LORA":
        raise InvalidAdapter(f"must be LORA, not {config.get('peft_type')!r}", "peft_type")
    for setting, reason in _UNSUPPORTED.items():
        if config.get(setting):
            raise InvalidAdapter(reason, setting)
    if config.get("bias", "none") != "none":
        raise InvalidAdapter("trained biases are not supported by the engine", "bias")
    start = config.get("init_lora_weights", True)
    if isinstance(start, str) and start.lower() not in _HARMLESS_INITS:
        raise InvalidAdapter(
            f"{start!r} changes the base weights; convert it to a plain LoRA", "init_lora_weights"
        )
    for setting in ("rank_pattern", "alpha_pattern"):
        for name in config.get(setting) or {}:
            if not _PLAIN_NAME.fullmatch(name):
                raise InvalidAdapter("must name modules plainly, without a regular expression", setting)


def _targets(config: Mapping[str, Any], base: BaseModel) -> list[str]:
    """The base model's modules that the configuration claims to change."""
    names = config.get("target_modules")
    if isinstance(names, str):
        if names != "all-linear":
            raise InvalidAdapter("must be a list of module names, not a regular expression", "target_modules")
        names = sorted({module.rpartition(".")[2] for module in base.modules})
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise InvalidAdapter("must be a list of module names", "target_modules")
    for name in names:
        if not any(_is_named(module, name) for module in base.modules):
            raise InvalidAdapter(f"the base model has no linear layer {name!r}", "target_modules")
    layers = _layers(config)
    excluded = config.get("exclude_modules") or []
    if not isinstance(excluded, list):
        raise InvalidAdapter("must be a list of module names, not a regular expression", "exclude_modules")
    return [
        module
        for module in base.modules
        if any(_is_named(module, name) for name in names)
        and not any(_is_named(module, name) for name in excluded)
        and (layers is None or _layer(module) in layers)
    ]


def _layers(config: Mapping[str, Any]) -> frozenset[int] | None:
    chosen = config.get("layers_to_transform")
    if chosen is None:
        return None
    return frozenset([chosen] if isinstance(chosen, int) else chosen)


def _layer(module: str) -> int:
    """Index of the layer that a module is in; -1 outside of the layers."""
    return next((int(part) for part in module.split(".") if part.isdigit()), -1)


def _is_named(module: str, name: str) -> bool:
    return module == name or module.endswith(f".{name}")


def _rank(config: Mapping[str, Any], module: str) -> int:
    for name, rank in (config.get("rank_pattern") or {}).items():
        if _is_named(module, name):
            return int(rank)
    return int(_number(config, "r"))


def _number(config: Mapping[str, Any], setting: str) -> float:
    value = config.get(setting)
    if (
        not isinstance(value, int | float)
        or isinstance(value, bool)
        or not math.isfinite(value)
        or value <= 0
    ):
        raise InvalidAdapter("must be a positive number", setting)
    return value


def _check_ranks(ranks: Mapping[str, int], max_rank: int) -> None:
    if not ranks:
        raise InvalidAdapter("selects no layer of the base model", "target_modules")
    if max(ranks.values()) > max_rank:
        raise InvalidAdapter(f"rank {max(ranks.values())} is over the engine's limit of {max_rank}", "r")
    if min(ranks.values()) < 1:
        raise InvalidAdapter("ranks must be positive", "rank_pattern")


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
        if not np.isfinite(tensors[name].values()).all():
            raise InvalidAdapter("holds values that are not finite numbers", name)


def _check_effect(tensors: Mapping[str, _Tensor]) -> None:
    """Training begins with every B at zero: an adapter in which they still are would cost a slot and do
    nothing."""
    if not any(tensor.values().any() for name, tensor in tensors.items() if name.endswith(".lora_B.weight")):
        raise InvalidAdapter("has no effect: every lora_B is zero", WEIGHTS)
