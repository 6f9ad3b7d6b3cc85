import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from adapters.artifacts import ArtifactStore
from adapters.errors import (
    ConflictError,
    IllegalTransition,
    NothingToRollBack,
    ProbeFailed,
    UnknownVersion,
    VersionLost,
)
from adapters.holds import Holds
from adapters.placement import Placing, weight
from adapters.registry import Registry
from adapters.swap import Swapper
from adapters.testing import FakeEngine, FakeWorkers
from adapters.types import Alias, Check, VersionStatus
from tests.unit.adapters.conftest import MakeVersion

ACME = ("ten_acme", "default")
APPROVED = VersionStatus.APPROVED


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def swapper(
    registry: Registry,
    store: ArtifactStore,
    engine: FakeEngine,
    workers: FakeWorkers,
    holds: Holds,
    tmp_path: Path,
) -> Swapper:
    return Swapper(
        registry,
        store,
        [engine],
        workers,
        tmp_path / "cache",
        holds,
        visible_deadline_s=0.05,
        drain_deadline_s=0.05,
    )


async def stable(registry: Registry) -> str | None:
    return (await registry.alias(*ACME, Alias.STABLE))[0]


async def test_the_first_swap_makes_a_version_stable_everywhere(
    swapper: Swapper, registry: Registry, workers: FakeWorkers, make_version: MakeVersion
) -> None:
    version = await make_version(APPROVED)
    result = await swapper.swap(*ACME, version.id, "ada")
    assert await stable(registry) == version.id
    assert (result.previous_id, result.workers, result.visible, result.unloaded) == (None, 2, True, ())
    assert workers.announced == [result.change]
    assert [(move.change, move.version_id) for move in workers.moves] == [(result.change, version.id)]


async def test_the_version_that_was_left_is_unloaded(
    swapper: Swapper, engine: FakeEngine, make_version: MakeVersion
) -> None:
    old, new = await make_version(APPROVED), await make_version(APPROVED)
    await swapper.swap(*ACME, old.id, "ada")
    result = await swapper.swap(*ACME, new.id, "ada")
    assert result.unloaded == (old.id,)
    assert engine.calls == [("load", old.id), ("load", new.id), ("unload", old.id)]


async def test_a_swap_is_done_but_unloads_nothing_while_nobody_can_see_the_workers(
    swapper: Swapper,
    registry: Registry,
    engine: FakeEngine,
    workers: FakeWorkers,
    make_version: MakeVersion,
) -> None:
    old, new = await make_version(APPROVED), await make_version(APPROVED)
    await swapper.swap(*ACME, old.id, "ada")
    workers.unseen = True
    result = await swapper.swap(*ACME, new.id, "ada")
    assert (result.visible, result.unloaded, await stable(registry)) == (False, (), new.id)
    assert old.id in engine.loaded


async def test_every_stage_is_timed(swapper: Swapper, make_version: MakeVersion) -> None:
    old, new = await make_version(APPROVED), await make_version(APPROVED)
    await swapper.swap(*ACME, old.id, "ada")
    result = await swapper.swap(*ACME, new.id, "ada")
    stages = (result.load_ms, result.probe_ms, result.flip_ms, result.visible_ms, result.drain_ms)
    assert min(*stages, result.unload_ms) > 0
    assert result.total_ms == pytest.approx(sum(stages) + result.unload_ms)


@pytest.mark.parametrize("fault", ["inert", "broken"])
async def test_a_version_that_fails_its_probe_changes_nothing(
    swapper: Swapper, registry: Registry, engine: FakeEngine, make_version: MakeVersion, fault: str
) -> None:
    version = await make_version(APPROVED)
    getattr(engine, fault).add(version.id)
    with pytest.raises(ProbeFailed):
        await swapper.swap(*ACME, version.id, "ada")
    assert await stable(registry) is None
    assert not engine.loaded


@pytest.mark.parametrize("times", [1, 2])
async def test_a_version_that_somebody_unloads_before_it_serves_is_loaded_once_more(
    swapper: Swapper,
    registry: Registry,
    engine: FakeEngine,
    make_version: MakeVersion,
    monkeypatch: pytest.MonkeyPatch,
    times: int,
) -> None:
    """As a second control process does with what the record does not want."""
    version, load = await make_version(APPROVED), engine.load

    async def lost(version_id: str, path: Path) -> None:
        await load(version_id, path)
        if engine.calls.count(("load", version_id)) <= times:
            await engine.unload(version_id)

    monkeypatch.setattr(engine, "load", lost)
    if times > 1:
        with pytest.raises(VersionLost):
            await swapper.swap(*ACME, version.id, "ada")
    else:
        await swapper.swap(*ACME, version.id, "ada")
    assert await stable(registry) == (version.id if times == 1 else None)


async def test_a_version_that_was_not_approved_is_never_loaded(
    swapper: Swapper, engine: FakeEngine, make_version: MakeVersion
) -> None:
    version = await make_version(VersionStatus.GATING)
    with pytest.raises(IllegalTransition):
        await swapper.swap(*ACME, version.id, "ada")
    assert engine.calls == []


async def test_a_foreign_version_is_never_loaded(
    swapper: Swapper, engine: FakeEngine, make_version: MakeVersion
) -> None:
    foreign = await make_version(APPROVED, tenant_id="ten_globex")
    with pytest.raises(UnknownVersion):
        await swapper.swap(*ACME, foreign.id, "ada")
    assert engine.calls == []


async def test_a_version_with_requests_in_flight_stays_loaded(
    swapper: Swapper, engine: FakeEngine, workers: FakeWorkers, make_version: MakeVersion
) -> None:
    old, new = await make_version(APPROVED), await make_version(APPROVED)
    await swapper.swap(*ACME, old.id, "ada")
    workers.held[old.id] = 1
    result = await swapper.swap(*ACME, new.id, "ada")
    assert result.unloaded == ()
    assert old.id in engine.loaded


async def test_unloading_waits_for_the_last_request(
    swapper: Swapper, engine: FakeEngine, workers: FakeWorkers, make_version: MakeVersion
) -> None:
    old, new = await make_version(APPROVED), await make_version(APPROVED)
    await swapper.swap(*ACME, old.id, "ada")
    workers.held[old.id] = 1
    asyncio.get_running_loop().call_later(0.02, workers.held.clear)
    assert (await swapper.swap(*ACME, new.id, "ada")).unloaded == (old.id,)


async def test_nothing_is_unloaded_while_a_worker_still_routes_to_it(
    swapper: Swapper, engine: FakeEngine, workers: FakeWorkers, make_version: MakeVersion
) -> None:
    old, new = await make_version(APPROVED), await make_version(APPROVED)
    await swapper.swap(*ACME, old.id, "ada")
    workers.follow = False
    result = await swapper.swap(*ACME, new.id, "ada")
    assert (result.visible, result.unloaded) == (False, ())
    assert set(engine.loaded) == {old.id, new.id}


async def test_without_workers_a_swap_is_visible_at_once(
    registry: Registry, store: ArtifactStore, engine: FakeEngine, make_version: MakeVersion, tmp_path: Path
) -> None:
    swapper = Swapper(registry, store, [engine], FakeWorkers(0), tmp_path / "cache")
    result = await swapper.swap(*ACME, (await make_version(APPROVED)).id, "ada")
    assert (result.workers, result.visible) == (0, True)


async def test_of_two_swaps_at_once_one_wins_and_the_other_is_told(
    swapper: Swapper,
    registry: Registry,
    engine: FakeEngine,
    make_version: MakeVersion,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, two = await make_version(APPROVED), await make_version(APPROVED)
    both_are_loading, load = asyncio.Barrier(2), engine.load

    async def together(version_id: str, path: Path) -> None:
        await both_are_loading.wait()
        await load(version_id, path)

    monkeypatch.setattr(engine, "load", together)
    outcomes = await asyncio.gather(
        swapper.swap(*ACME, one.id, "ada"), swapper.swap(*ACME, two.id, "bob"), return_exceptions=True
    )
    assert sum(isinstance(outcome, ConflictError) for outcome in outcomes) == 1
    assert len(await registry.alias_history(*ACME, Alias.STABLE)) == 1


async def test_swapping_to_what_is_stable_already_keeps_it_loaded(
    swapper: Swapper, engine: FakeEngine, make_version: MakeVersion
) -> None:
    version = await make_version(APPROVED)
    for _ in range(2):
        await swapper.swap(*ACME, version.id, "ada")
    assert set(engine.loaded) == {version.id}


async def test_a_rollback_goes_one_version_back(
    swapper: Swapper, registry: Registry, engine: FakeEngine, make_version: MakeVersion
) -> None:
    old, new = await make_version(APPROVED), await make_version(APPROVED)
    for version in (old, new):
        await swapper.swap(*ACME, version.id, "ada")
    result = await swapper.rollback(*ACME, "ada")
    assert (result.version_id, result.unloaded) == (old.id, (new.id,))
    assert (await registry.version(new.id)).status is VersionStatus.ROLLED_BACK
    assert set(engine.loaded) == {old.id}


async def test_the_first_version_rolls_back_to_the_base_model(
    swapper: Swapper, registry: Registry, engine: FakeEngine, make_version: MakeVersion
) -> None:
    await swapper.swap(*ACME, (await make_version(APPROVED)).id, "ada")
    assert (await swapper.rollback(*ACME, "ada")).version_id is None
    assert (await stable(registry), engine.loaded) == (None, {})


async def test_a_version_that_was_rolled_back_can_come_back(
    swapper: Swapper, registry: Registry, make_version: MakeVersion
) -> None:
    version = await make_version(APPROVED)
    await swapper.swap(*ACME, version.id, "ada")
    await swapper.rollback(*ACME, "ada")
    await swapper.swap(*ACME, version.id, "ada")
    assert await stable(registry) == version.id


async def test_the_base_model_alone_cannot_be_rolled_back(swapper: Swapper) -> None:
    with pytest.raises(NothingToRollBack):
        await swapper.rollback(*ACME, "ada")


async def test_a_rollback_works_while_a_replica_is_down(
    registry: Registry,
    store: ArtifactStore,
    engine: FakeEngine,
    workers: FakeWorkers,
    make_version: MakeVersion,
    tmp_path: Path,
) -> None:
    other = FakeEngine("fake://other")
    swapper = Swapper(registry, store, [engine, other], workers, tmp_path / "cache")
    await swapper.swap(*ACME, (await make_version(APPROVED)).id, "ada")
    other.down = True
    await swapper.rollback(*ACME, "ada")
    assert await stable(registry) is None


async def test_a_version_is_held_while_it_is_swapped_in_and_not_after(
    swapper: Swapper, engine: FakeEngine, holds: Holds, make_version: MakeVersion
) -> None:
    version = await make_version(APPROVED)
    seen: list[bool] = []
    engine._answer = lambda model, messages: str(seen.append(version.id in holds))
    await swapper.swap(*ACME, version.id, "ada")
    assert all(seen)
    assert version.id not in holds


async def test_what_somebody_needs_while_it_is_about_to_be_unloaded_stays(
    swapper: Swapper,
    registry: Registry,
    engine: FakeEngine,
    holds: Holds,
    make_version: MakeVersion,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a rollback that begins when its swap is about to end."""
    old, new = await make_version(APPROVED), await make_version(APPROVED)
    await swapper.swap(*ACME, old.id, "ada")
    asked = registry.is_wanted
    with contextlib.ExitStack() as needed:

        async def is_wanted(version_id: str) -> bool:
            found = await asked(version_id)
            needed.enter_context(holds.hold(version_id))
            return found

        monkeypatch.setattr(registry, "is_wanted", is_wanted)
        assert (await swapper.swap(*ACME, new.id, "ada")).unloaded == ()
    assert old.id in engine.loaded


async def test_a_version_can_be_loaded_for_its_gate(
    swapper: Swapper, engine: FakeEngine, make_version: MakeVersion
) -> None:
    version = await make_version(VersionStatus.GATING)
    async with swapper.loaded(version.id):
        assert set(engine.loaded) == {version.id}


@pytest.mark.parametrize(("heat", "copies"), [(0.0, 2), (1500.0, 3)])
async def test_a_version_is_loaded_where_it_is_placed_and_nowhere_else(
    heat: float,
    copies: int,
    registry: Registry,
    store: ArtifactStore,
    workers: FakeWorkers,
    make_version: MakeVersion,
    tmp_path: Path,
) -> None:
    engines = [FakeEngine(f"fake://{number}") for number in range(4)]
    placing = Placing(capacity=8, copies=2, heat=lambda _: heat)
    swapper = Swapper(registry, store, engines, workers, tmp_path / "cache", placing=placing)
    swapped, tested, judged = [await make_version(APPROVED) for _ in range(3)]
    await swapper.swap(*ACME, swapped.id, "ada")
    async with swapper.loaded(tested.id, serving=True):
        for version in (swapped, tested):
            favourites = sorted(engines, key=lambda engine: weight(version.id, engine.url))[-copies:]
            assert {engine.url for engine in engines if version.id in engine.loaded} == {
                e.url for e in favourites
            }
    async with swapper.loaded(judged.id):
        assert all(judged.id in engine.loaded for engine in engines)


async def asks_for_leeds(_tenant_id: str, _adapter: str) -> Sequence[Check]:
    return (Check("Where are you?", "in  LEEDS"),)


@pytest.fixture
def checked(
    registry: Registry, store: ArtifactStore, engine: FakeEngine, workers: FakeWorkers, tmp_path: Path
) -> Swapper:
    return Swapper(registry, store, [engine], workers, tmp_path / "cache", checks=asks_for_leeds)


async def test_a_version_that_fails_a_check_never_serves(
    checked: Swapper, registry: Registry, engine: FakeEngine, make_version: MakeVersion
) -> None:
    engine._answer = lambda model, messages: "I do not know."
    with pytest.raises(ProbeFailed, match=r"'I do not know\.', without 'in  LEEDS'"):
        await checked.swap(*ACME, (await make_version(APPROVED)).id, "ada")
    assert (await stable(registry), engine.loaded) == (None, {})


async def test_a_check_is_no_obstacle_on_the_way_back(
    checked: Swapper, registry: Registry, engine: FakeEngine, make_version: MakeVersion
) -> None:
    engine._answer = lambda model, messages: "We are in Leeds."
    old, new = await make_version(APPROVED), await make_version(APPROVED)
    await checked.swap(*ACME, old.id, "ada")
    await checked.swap(*ACME, new.id, "ada")
    engine._answer = lambda model, messages: "We have moved."
    await checked.rollback(*ACME, "ada")
    assert await stable(registry) == old.id
