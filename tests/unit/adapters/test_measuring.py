import asyncio
from pathlib import Path

import pytest

from adapters.artifacts import ArtifactStore
from adapters.base import BaseModel
from adapters.errors import ArtifactMissing
from adapters.measuring import AT_ONCE, Measurer
from adapters.registry import Registry
from adapters.types import Lineage
from tests.unit.adapters.conftest import BASE, WriteAdapter


async def test_factors_are_read_and_no_copy_stays(
    tmp_path: Path, registry: Registry, store: ArtifactStore, base: BaseModel, write_adapter: WriteAdapter
) -> None:
    artifact = await store.put(write_adapter())
    version = await registry.register("ten_acme", "default", artifact.digest, Lineage(BASE), {})
    measurer = Measurer(store, tmp_path / "scratch")
    async with measurer.turn() as factors_of:
        assert {*await factors_of(version, base)} == {*base.modules}
        assert not [*(tmp_path / "scratch").iterdir()]
        await store.delete(artifact.digest)
        with pytest.raises(ArtifactMissing):
            await factors_of(version, base)
        assert not [*(tmp_path / "scratch").iterdir()]


async def test_a_comparison_waits_until_another_one_is_over(tmp_path: Path, store: ArtifactStore) -> None:
    measurer = Measurer(store, tmp_path / "scratch")
    over = asyncio.Event()
    begun: list[int] = []

    async def compare(number: int) -> None:
        async with measurer.turn():
            begun.append(number)
            await over.wait()

    async with asyncio.TaskGroup() as all_of_them:
        made = [all_of_them.create_task(compare(number)) for number in range(AT_ONCE + 1)]
        await asyncio.wait(made, timeout=0.05)
        assert len(begun) == AT_ONCE
        over.set()
    assert len(begun) == AT_ONCE + 1
