"""Fixtures of the adapters package's unit tests: a registry, a tiny base model, adapters on disk."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.artifacts import ArtifactStore
from adapters.base import BaseModel, describe_base
from adapters.registry import Registry
from adapters.types import Lineage, Version

BASE = "sha256:base"
MakeVersion = Callable[..., Any]
WriteAdapter = Callable[..., Path]


@pytest.fixture
async def registry(database: AsyncEngine) -> Registry:
    """With an adapter `default` for each of two tenants."""
    registry = Registry(database)
    for tenant_id in ("ten_acme", "ten_globex"):
        await registry.ensure_adapter(tenant_id, "default", BASE)
    return registry


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore((tmp_path / "artifacts").as_uri())


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory with two small files, as an artifact's."""
    directory = tmp_path / "files"
    directory.mkdir()
    (directory / "adapter_config.json").write_text("{}")
    (directory / "adapter_model.safetensors").write_bytes(b"weights")
    return directory


@pytest.fixture
def make_version(registry: Registry, store: ArtifactStore, files: Path) -> MakeVersion:
    """Registers a version of acme's default adapter whose artifact is in the store, in any status."""

    async def make(*statuses: Any, tenant_id: str = "ten_acme") -> Version:
        artifact = await store.put(files)
        version = await registry.register(tenant_id, "default", artifact.digest, Lineage(BASE), {})
        for status in statuses:
            await registry.set_status(version.id, status)
        return await registry.version(version.id)

    return make


@pytest.fixture
def base(tmp_path: Path) -> BaseModel:
    """A base model of two layers with one linear layer in each, 8 features wide."""
    directory = tmp_path / "base"
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps({"hidden_size": 8, "num_hidden_layers": 2}))
    (directory / "tokenizer.json").write_text("{}")
    weights: dict[str, np.ndarray] = {
        f"model.layers.{i}.mlp.up_proj.weight": np.ones((16, 8), np.float32) for i in range(2)
    }
    weights["model.embed_tokens.weight"] = np.ones((32, 8), np.float32)
    weights["model.norm.weight"] = np.ones(8, np.float32)
    save_file(weights, directory / "model.safetensors")
    return describe_base(directory)


def lora_tensors(rank: int = 4) -> dict[str, np.ndarray]:
    """Weights of a valid adapter for `base`."""
    tensors: dict[str, np.ndarray] = {}
    for i in range(2):
        name = f"base_model.model.model.layers.{i}.mlp.up_proj"
        tensors[f"{name}.lora_A.weight"] = np.full((rank, 8), 0.5, np.float32)
        tensors[f"{name}.lora_B.weight"] = np.full((16, rank), 0.25, np.float32)
    return tensors


def lora_config(**changes: Any) -> dict[str, Any]:
    settings = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["up_proj"], "bias": "none"}
    return settings | changes


@pytest.fixture
def write_adapter(tmp_path: Path) -> WriteAdapter:
    """Writes an adapter's folder: a valid one, but for what is given."""

    def write(
        config: Mapping[str, Any] | None = None, tensors: Mapping[str, np.ndarray] | None = None
    ) -> Path:
        directory = tmp_path / "adapter"
        directory.mkdir()
        (directory / "adapter_config.json").write_text(json.dumps(config or lora_config()))
        save_file(dict(tensors or lora_tensors()), directory / "adapter_model.safetensors")
        return directory

    return write
