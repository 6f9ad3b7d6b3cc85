"""Fixtures of the adapters package's unit tests: a registry, engines, a tiny base model, adapters on disk."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.artifacts import ArtifactStore
from adapters.base import BaseModel, describe_base
from adapters.holds import Holds
from adapters.reconcile import Reconciler
from adapters.registry import Registry
from adapters.testing import FakeEngine, FakeWorkers
from adapters.types import Alias, Lineage, Version, VersionStatus
from adapters.wants import Wants

BASE = "sha256:base"
MakeVersion = Callable[..., Any]
MakeStable = Callable[[], Awaitable[Version]]
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
def engines() -> list[FakeEngine]:
    return [FakeEngine("fake://one"), FakeEngine("fake://two")]


@pytest.fixture
def workers() -> FakeWorkers:
    return FakeWorkers()


@pytest.fixture
def holds() -> Holds:
    return Holds()


@pytest.fixture
async def reconcile(
    registry: Registry,
    database: AsyncEngine,
    store: ArtifactStore,
    workers: FakeWorkers,
    holds: Holds,
    tmp_path: Path,
) -> Callable[[Sequence[FakeEngine]], Reconciler]:
    """Of engines with room for three versions each; every worker serves the record as it is."""
    await workers.apply(1_000_000)
    wants, cache = Wants(database), tmp_path / "cache"
    return lambda engines: Reconciler(registry, wants, store, engines, workers, holds, cache, capacity=3)


@pytest.fixture
def reconciler(
    reconcile: Callable[[Sequence[FakeEngine]], Reconciler], engines: list[FakeEngine]
) -> Reconciler:
    return reconcile(engines)


@pytest.fixture
def make_stable(registry: Registry, make_version: MakeVersion) -> MakeStable:
    async def make() -> Version:
        version: Version = await make_version(VersionStatus.APPROVED)
        await registry.move_alias("ten_acme", "default", Alias.STABLE, version.id, "ada")
        return version

    return make


@pytest.fixture
async def many(registry: Registry, make_version: MakeVersion) -> list[Version]:
    """Stable versions of nine tenants: more than two engines of three have room for."""
    versions = []
    for number in range(9):
        tenant_id = f"ten_{number}"
        await registry.ensure_adapter(tenant_id, "default", BASE)
        version: Version = await make_version(VersionStatus.APPROVED, tenant_id=tenant_id)
        await registry.move_alias(tenant_id, "default", Alias.STABLE, version.id, "ada")
        versions.append(version)
    return versions


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
