from pathlib import Path
from typing import Any

import pytest

from adapters.artifacts import ArtifactStore
from adapters.base import describe_base
from adapters.database import connect
from adapters.drift import read_factors
from adapters.registry import Registry
from adapters.types import Lineage
from tests.integration.random_adapters import write_adapter
from training.errors import InvalidRecipe
from training.merging import merge_plan, merge_versions
from training.types import MERGE

PLAN: dict[str, Any] = {
    "sources": [{"version_id": "ver_1", "weight": 0.5}, {"version_id": "ver_2", "weight": 1.5}],
    "method": "linear",
    "density": 0.5,
    "rank": 16,
    "seed": 0,
}


def test_a_recipe_without_a_merge_is_a_training() -> None:
    assert merge_plan({"rank": 8}, 16) is None


def test_the_heaviest_source_is_the_parent() -> None:
    plan = merge_plan({MERGE: PLAN}, 16)
    assert plan is not None
    assert plan.parent_id == "ver_2"


@pytest.mark.parametrize(
    "change",
    [
        {"method": "average"},
        {"density": 0.0},
        {"rank": 17},
        {"sources": PLAN["sources"][:1]},
        {"sources": [{"version_id": "ver_1"}, {"version_id": "ver_2"}]},
    ],
)
def test_what_cannot_be_merged_is_refused(change: dict) -> None:
    with pytest.raises(InvalidRecipe):
        merge_plan({MERGE: PLAN | change}, 16)


async def test_versions_of_the_tenant_are_merged_and_nobody_elses(
    base_model: Path, tmp_path: Path, sqlite_url: str
) -> None:
    base = describe_base(base_model)
    store = ArtifactStore((tmp_path / "store").as_uri())
    database = connect(sqlite_url)
    registry = Registry(database)
    ids = []
    for number in (1, 2):
        await registry.ensure_adapter("ten_1", "default", base.digest)
        artifact = await store.put(write_adapter(tmp_path / str(number), base, number, rank=4))
        made = await registry.register("ten_1", "default", artifact.digest, Lineage(base.digest), {})
        ids.append(made.id)
    sources = [{"version_id": name, "weight": 1.0} for name in ids]
    plan = merge_plan({MERGE: PLAN | {"sources": sources}}, 16)
    assert plan is not None
    merged = await merge_versions(plan, "ten_1", registry, store, base, tmp_path / "out")
    assert merged.kept == pytest.approx(1.0, abs=1e-3)
    assert read_factors(tmp_path / "out", base).keys() == base.modules.keys()
    with pytest.raises(InvalidRecipe):
        await merge_versions(plan, "ten_2", registry, store, base, tmp_path / "other")
    await database.dispose()
