import asyncio
import shutil
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters import changes
from adapters.base import BaseModel, describe_base
from adapters.bases import Bases
from adapters.errors import BadBaseModel, BaseNotServed, UnknownBase
from adapters.registry import Registry


@pytest.fixture
def other(base: BaseModel, tmp_path: Path) -> BaseModel:
    """Another base model."""
    directory = Path(shutil.copytree(base.path, tmp_path / "other"))
    (directory / "tokenizer.json").write_text('{"other": true}')
    return describe_base(directory)


async def served(registry: Registry, tenant_id: str) -> dict[str, str]:
    """Adapter to the name of its base model, as workers are told."""
    return {routes.name: routes.base for routes in await registry.routes(tenant_id)}


async def test_workers_learn_the_name_of_each_adapters_base_model(
    database: AsyncEngine, base: BaseModel, other: BaseModel
) -> None:
    registry = Registry(database)
    await registry.ensure_adapter("ten_1", "default", base.digest)
    await registry.ensure_adapter("ten_1", "big", other.digest)
    await Bases(database, {"base": base, "large": other}).publish()
    assert await served(registry, "ten_1") == {"big": "large", "default": "base"}


async def test_an_adapter_whose_base_model_no_engine_holds_has_none(
    database: AsyncEngine, base: BaseModel, other: BaseModel
) -> None:
    """Also when another model has taken over the name."""
    registry = Registry(database)
    await registry.ensure_adapter("ten_1", "default", base.digest)
    await Bases(database, {"base": base}).publish()
    await Bases(database, {"base": other}).publish()
    assert await served(registry, "ten_1") == {"default": ""}


async def test_only_tenants_with_an_adapter_of_what_changed_are_read_again(
    database: AsyncEngine, base: BaseModel, other: BaseModel
) -> None:
    registry = Registry(database)
    await registry.ensure_adapter("ten_1", "default", base.digest)
    await registry.ensure_adapter("ten_2", "big", other.digest)
    await Bases(database, {"base": base}).publish()
    before = await registry.position()
    for _ in range(2):
        await Bases(database, {"base": base, "large": other}).publish()
    async with database.connect() as connection:
        assert await changes.since(connection, before) == (before + 1, {"ten_2"})


def test_one_model_has_one_name(database: AsyncEngine, base: BaseModel) -> None:
    with pytest.raises(BadBaseModel, match="'base' and 'again' are the same model"):
        Bases(database, {"base": base, "again": base})


def test_a_base_model_is_found_by_name_and_by_digest(
    database: AsyncEngine, base: BaseModel, other: BaseModel
) -> None:
    bases = Bases(database, {"base": base, "large": other})
    assert (bases.named("large"), bases.of(other.digest), bases.name_of(other.digest)) == (
        other,
        other,
        "large",
    )


def test_what_is_not_served_is_said(database: AsyncEngine, base: BaseModel) -> None:
    bases = Bases(database, {"base": base})
    with pytest.raises(UnknownBase):
        bases.named("large")
    with pytest.raises(BaseNotServed):
        bases.of("sha256:gone")


async def test_several_processes_name_the_base_models_at_once(
    database: AsyncEngine, base: BaseModel, other: BaseModel
) -> None:
    registry = Registry(database)
    await registry.ensure_adapter("ten_1", "default", base.digest)
    for found in ({"base": base}, {"base": other, "large": base}) * 3:
        await asyncio.gather(*(Bases(database, found).publish() for _ in range(4)))
    assert await served(registry, "ten_1") == {"default": "large"}
