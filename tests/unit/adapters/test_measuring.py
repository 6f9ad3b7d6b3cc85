from pathlib import Path

import pytest

from adapters.artifacts import ArtifactStore
from adapters.base import BaseModel
from adapters.errors import ArtifactMissing
from adapters.measuring import Measurer
from adapters.registry import Registry
from adapters.types import Lineage
from tests.unit.adapters.conftest import BASE, WriteAdapter


async def test_factors_are_read_and_no_copy_stays(
    tmp_path: Path, registry: Registry, store: ArtifactStore, base: BaseModel, write_adapter: WriteAdapter
) -> None:
    artifact = await store.put(write_adapter())
    version = await registry.register("ten_acme", "default", artifact.digest, Lineage(BASE), {})
    measurer = Measurer(store, tmp_path / "scratch")
    assert {*await measurer.factors(version, base)} == {*base.modules}
    assert not [*(tmp_path / "scratch").iterdir()]
    await store.delete(artifact.digest)
    with pytest.raises(ArtifactMissing):
        await measurer.factors(version, base)
    assert not [*(tmp_path / "scratch").iterdir()]
