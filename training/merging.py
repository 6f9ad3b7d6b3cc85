"""Runs that merge versions instead of training one: what they are told, and the work. The gate is the same."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.artifacts import ArtifactStore
from adapters.base import BaseModel
from adapters.drift import read_factors
from adapters.merge import RULES, Merged, Merging, merge
from adapters.registry import Registry
from training.errors import InvalidRecipe
from training.types import MERGE


@dataclass(frozen=True)
class MergePlan:
    """sources: version ids and their weights, the heaviest first."""

    sources: tuple[tuple[str, float], ...]
    how: Merging

    @property
    def parent_id(self) -> str:
        return self.sources[0][0]


def merge_plan(recipe: Mapping[str, Any], max_rank: int) -> MergePlan | None:
    """None for a run that trains. Raises InvalidRecipe."""
    told = recipe.get(MERGE)
    if told is None:
        return None
    try:
        sources = [(str(source["version_id"]), float(source["weight"])) for source in told["sources"]]
        how = Merging(
            method=str(told["method"]),
            density=float(told["density"]),
            rank=int(told["rank"]),
            seed=int(told["seed"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidRecipe(f"a merge lacks or misstates {error}") from error
    if how.method not in RULES or not 0 < how.density <= 1 or not 1 <= how.rank <= max_rank:
        raise InvalidRecipe(
            f"a merge by {how.method}, density {how.density:g}, rank {how.rank} cannot be done"
        )
    if len(sources) < 2:
        raise InvalidRecipe("a merge takes two versions at least")
    return MergePlan(tuple(sorted(sources, key=lambda source: -source[1])), how)


async def merge_versions(
    plan: MergePlan, tenant_id: str, registry: Registry, store: ArtifactStore, base: BaseModel, into: Path
) -> Merged:
    """Write the merged adapter into a directory; returns what came out.

    Raises UnknownVersion, ArtifactError, InvalidAdapter; InvalidRecipe for a version of another tenant or base model.
    """
    parts = []
    for version_id, weight in plan.sources:
        version = await registry.version(version_id)
        if version.tenant_id != tenant_id or version.lineage.base_digest != base.digest:
            raise InvalidRecipe(f"{version_id} cannot be part of this merge")
        path = await store.fetch(version.artifact_digest, into.parent / f"{into.name}-sources")
        parts.append((await asyncio.to_thread(read_factors, path, base), weight))
    return await asyncio.to_thread(merge, parts, plan.how, base, into)
