"""Replicas that get no new work."""

import asyncio
from collections.abc import Collection
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters import audit
from adapters.artifacts import ArtifactStore
from adapters.drains import Drains
from adapters.loading import Loader
from adapters.reconcile import Reconciler
from adapters.testing import FakeEngine
from adapters.types import Version
from tests.unit.adapters.conftest import MakeStable, MakeVersion


async def test_a_drain_lasts_until_it_is_ended_and_both_are_audited(database: AsyncEngine) -> None:
    drains = Drains(database)
    await asyncio.gather(*(drains.begin("http://one", "ada") for _ in range(3)))
    await drains.begin("http://two", "ada")
    assert await Drains(database).urls() == {"http://one", "http://two"}
    for _ in range(2):
        await drains.end("http://one", "bob")
    assert await drains.urls() == {"http://two"}
    acts = [each.act for each in await audit.entries(database)]
    assert [(act.actor, act.action) for act in acts if act.subject == "http://one"] == [
        ("bob", "replica.returned"),
        ("ada", "replica.drained"),
    ]


async def test_what_a_drained_replica_held_is_loaded_by_another_and_left_where_it_is(
    reconciler: Reconciler, engines: list[FakeEngine], many: list[Version]
) -> None:
    await reconciler.run_once()
    held = set(engines[0].loaded)
    hot = dict.fromkeys(held, 9.0)
    repairs = await reconciler.run_once(asked=hot, drained=["fake://one"])
    assert set(engines[1].loaded) == held
    assert set(engines[0].loaded) == held
    assert repairs.residency == {"fake://two": held}


async def test_where_all_are_drained_they_serve_on(
    reconciler: Reconciler, engines: list[FakeEngine], make_stable: MakeStable
) -> None:
    version = await make_stable()
    await reconciler.run_once(drained=[engine.url for engine in engines])
    assert all(version.id in engine.loaded for engine in engines)


@pytest.mark.parametrize(
    ("drained", "used"),
    [(["fake://one"], {"fake://two"}), (["fake://one", "fake://two"], {"fake://one", "fake://two"})],
)
async def test_a_version_is_proved_where_work_is_taken(
    store: ArtifactStore,
    engines: list[FakeEngine],
    make_version: MakeVersion,
    tmp_path: Path,
    drained: list[str],
    used: set[str],
) -> None:
    async def told() -> Collection[str]:
        return drained

    version = await make_version()
    loaded = await Loader(store, engines, tmp_path / "cache", told).ensure(version)
    assert {engine.url for engine in loaded} == used
    assert {engine.url for engine in engines if version.id in engine.loaded} == used
