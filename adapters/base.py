"""What must be known of a base model to tell whether an adapter belongs to it: its digest and its linear
layers."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from adapters.errors import BadBaseModel

_NOT_ADAPTED = ("embed_tokens", "lm_head", "norm")
"""Matrices (or vectors) that are no linear layers of the network's body; the engine adapts none of them for
us."""
_MAX_HEADER_BYTES = 100_000_000
"""The limit of the safetensors format itself."""

_Fingerprint = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class BaseModel:
    """A base model on disk."""

    id: str
    digest: str
    """`sha256:…` over config.json, tokenizer.json and the weights: what an adapter is bound to."""
    path: Path
    hidden_size: int
    layers: int
    modules: Mapping[str, tuple[int, int]]
    """Every linear layer that an adapter may change, such as `model.layers.0.mlp.up_proj`, to (out, in)
    features."""


def describe_base(path: Path) -> BaseModel:
    """Read a base model's directory. Repeated calls are free while no file's size or time changes.

    Hashing the weights takes about a second per gigabyte: call it in a thread. Raises BadBaseModel.
    """
    path = path.resolve()
    files = sorted(_files(path))
    stats = [(file, file.stat()) for file in files]
    return _described(path, tuple((file.name, stat.st_size, stat.st_mtime_ns) for file, stat in stats))


def _files(path: Path) -> Iterator[Path]:
    for name in ("config.json", "tokenizer.json"):
        if not (path / name).is_file():
            raise BadBaseModel(path, f"{name} is missing")
        yield path / name
    weights = list(path.glob("*.safetensors"))
    if not weights:
        raise BadBaseModel(path, "there are no safetensors")
    yield from weights


@lru_cache(maxsize=8)
def _described(path: Path, fingerprint: _Fingerprint) -> BaseModel:
    names = [name for name, _, _ in fingerprint]
    config: dict[str, Any] = json.loads((path / "config.json").read_bytes())
    text = config.get("text_config", config)
    modules: dict[str, tuple[int, int]] = {}
    for name in names:
        if name.endswith(".safetensors"):
            modules |= _linear_layers(path / name)
    return BaseModel(
        id=path.name,
        digest=_digest(path, names),
        path=path,
        hidden_size=int(text["hidden_size"]),
        layers=int(text["num_hidden_layers"]),
        modules=MappingProxyType(modules),
    )


def _digest(path: Path, names: list[str]) -> str:
    """Over names, sizes and contents, so that no file can pass for the end of another."""
    whole = hashlib.sha256()
    for name in names:
        with (path / name).open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        whole.update(f"{content} {(path / name).stat().st_size} {name}\n".encode())
    return f"sha256:{whole.hexdigest()}"


def _linear_layers(file: Path) -> dict[str, tuple[int, int]]:
    """Names and shapes from a safetensors header: eight bytes of length, then JSON. The weights are not
    read."""
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if length > _MAX_HEADER_BYTES:
            raise BadBaseModel(file.parent, f"{file.name} is not a safetensors file")
        header: dict[str, Any] = json.loads(opened.read(length))
    found: dict[str, tuple[int, int]] = {}
    for name, tensor in header.items():
        module = name.removesuffix(".weight")
        shape = tensor.get("shape", ())
        if module != name and len(shape) == 2 and not module.endswith(_NOT_ADAPTED):
            found[module] = (shape[0], shape[1])
    return found
