"""PEFT's `adapter_config.json`: read, and refused when it asks for what the engine does not serve as a plain
LoRA."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from adapters.errors import InvalidAdapter
from adapters.strict_json import read_json

CONFIG = "adapter_config.json"
MAX_CONFIG_BYTES = 256 * 1024
"""Far over what naming every layer of a large model takes."""
MAX_ALPHA = 1024.0
"""Far over what is used; a factor without bound would let small weights overflow the network."""
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
    "kasa_config": "KaSA changes the base weights, which every tenant shares; train a plain LoRA",
}
"""Settings that must be absent, false or empty, and why."""
_HARMLESS_INITS = frozenset({"gaussian", "eva", "orthogonal", "mica"})
"""Initialisations that leave the base weights as they are."""
_CONVERTIBLE_INITS = ("pissa", "olora", "corda", "lora_ga")
"""Beginnings of the names of those that take a product out of the base weights, which PEFT can put into the file."""
V = TypeVar("V", int, float)
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.]+")


@dataclass(frozen=True)
class PeftConfig:
    """The settings that decide which tensors an adapter must hold."""

    rank: int
    alpha: float
    target_names: frozenset[str] | None
    """Module names or their endings; None means every linear layer."""
    excluded_names: frozenset[str]
    layers: frozenset[int] | None
    """Indices of the layers that it changes; None means all."""
    ranks: Mapping[str, int]
    """Ranks of modules that differ from `rank`, by name or ending."""
    alphas: Mapping[str, float]
    """The same for `alpha`."""
    rank_stabilised: bool
    declared_base: str
    """Name or path of the base model that it says it was trained on; may be empty."""

    def targets(self, modules: Sequence[str]) -> list[str]:
        """Those of a base model's linear layers that the adapter claims to change.

        Raises InvalidAdapter for a target that the base model does not have.
        """
        known = {name for module in modules for name in _names_of(module)}
        for name in sorted((self.target_names or frozenset()) - known):
            raise InvalidAdapter(f"the base model has no linear layer {name!r}", "target_modules")
        return [module for module in modules if self._selects(module)]

    def rank_of(self, module: str) -> int:
        return _first(self.ranks, module, self.rank)

    def scale_of(self, module: str) -> float:
        """What a module's B·A is multiplied with: alpha / r, rank-stabilised alpha / √r."""
        alpha = _first(self.alphas, module, self.alpha)
        rank = self.rank_of(module)
        return alpha / (math.sqrt(rank) if self.rank_stabilised else rank)

    def _selects(self, module: str) -> bool:
        names = set(_names_of(module))
        if self.target_names is not None and names.isdisjoint(self.target_names):
            return False
        if not names.isdisjoint(self.excluded_names):
            return False
        return self.layers is None or _layer(module) in self.layers


def read_config(path: Path) -> PeftConfig:
    """Raises InvalidAdapter, naming the setting at fault."""
    if not path.exists():
        raise InvalidAdapter("is missing", CONFIG)
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise InvalidAdapter(f"is larger than {MAX_CONFIG_BYTES} bytes", CONFIG)
    try:
        config = read_json(path.read_bytes())
    except ValueError as error:
        raise InvalidAdapter(str(error), CONFIG) from error
    if not isinstance(config, dict):
        raise InvalidAdapter("is not a JSON object", CONFIG)
    _check_supported(config)
    targets = config.get("target_modules")
    return PeftConfig(
        rank=_rank(config.get("r"), "r"),
        alpha=_alpha(config.get("lora_alpha"), "lora_alpha"),
        target_names=None if targets == "all-linear" else _names(targets, "target_modules"),
        excluded_names=_names(config.get("exclude_modules") or [], "exclude_modules", may_be_empty=True),
        layers=_layers(config.get("layers_to_transform")),
        ranks=_rank_pattern(_mapping(config, "rank_pattern")),
        alphas=_alpha_pattern(_mapping(config, "alpha_pattern")),
        rank_stabilised=bool(config.get("use_rslora")),
        declared_base=str(config.get("base_model_name_or_path") or ""),
    )


def _check_supported(config: Mapping[str, Any]) -> None:
    if config.get("peft_type") != "LORA":
        raise InvalidAdapter(f"must be LORA, not {config.get('peft_type')!r}", "peft_type")
    for setting, reason in _UNSUPPORTED.items():
        if config.get(setting):
            raise InvalidAdapter(reason, setting)
    if config.get("bias", "none") != "none":
        raise InvalidAdapter("trained biases are not supported by the engine", "bias")
    start = config.get("init_lora_weights", True)
    if isinstance(start, str) and start.lower() not in _HARMLESS_INITS:
        way_out = "train a plain LoRA"
        if start.lower().startswith(_CONVERTIBLE_INITS):
            way_out = (
                "save it as a plain LoRA: save_pretrained(…, path_initial_model_for_weight_conversion=…)"
            )
        raise InvalidAdapter(f"{start!r} changes the base weights; {way_out}", "init_lora_weights")


def _names(value: Any, setting: str, *, may_be_empty: bool = False) -> frozenset[str]:
    """A regular expression is refused: it would be ours and the engine's to run, on every module."""
    if isinstance(value, str):
        raise InvalidAdapter("must be a list of module names, not a regular expression", setting)
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise InvalidAdapter("must be a list of module names", setting)
    if not value and not may_be_empty:
        raise InvalidAdapter("must name at least one module", setting)
    return frozenset(value)


def _layers(value: Any) -> frozenset[int] | None:
    if value is None:
        return None
    indices = [value] if isinstance(value, int) else value
    if not isinstance(indices, list) or not all(isinstance(index, int) for index in indices):
        raise InvalidAdapter("must be a list of layer indices", "layers_to_transform")
    return frozenset(indices)


def _mapping(config: Mapping[str, Any], setting: str) -> Mapping[str, Any]:
    value = config.get(setting) or {}
    if not isinstance(value, dict):
        raise InvalidAdapter("must map module names to numbers", setting)
    return value


def _rank_pattern(ranks: Mapping[str, Any]) -> Mapping[str, int]:
    _check_plain(ranks, "rank_pattern")
    return {name: _rank(rank, "rank_pattern") for name, rank in ranks.items()}


def _alpha_pattern(alphas: Mapping[str, Any]) -> Mapping[str, float]:
    _check_plain(alphas, "alpha_pattern")
    return {name: _alpha(alpha, "alpha_pattern") for name, alpha in alphas.items()}


def _check_plain(pattern: Mapping[str, Any], setting: str) -> None:
    """PEFT and the engine read these names as regular expressions, some of which never end."""
    if not all(_PLAIN_NAME.fullmatch(name) for name in pattern):
        raise InvalidAdapter("must name modules plainly, without a regular expression", setting)


def _rank(value: Any, setting: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidAdapter("must be a positive integer", setting)
    return value


def _alpha(value: Any, setting: str) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value <= MAX_ALPHA:
        raise InvalidAdapter(f"must be a number over 0 and up to {MAX_ALPHA:g}", setting)
    return float(value)


def _names_of(module: str) -> Iterator[str]:
    """PEFT's rule: the whole name, or its end after a dot."""
    while module:
        yield module
        module = module.partition(".")[2]


def _first(values: Mapping[str, V], module: str, default: V) -> V:
    """What the first of the names that are the module's says."""
    named = {name for name in _names_of(module) if name in values}
    return next((value for name, value in values.items() if name in named), default) if named else default


def _layer(module: str) -> int:
    """Index of the layer that a module is in; -1 outside of the layers."""
    return next((int(part) for part in module.split(".") if part.isdigit()), -1)
