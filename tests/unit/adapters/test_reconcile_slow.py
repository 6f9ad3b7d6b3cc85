"""Loads that go on beside the passes."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from adapters import reconcile as reconciling
from adapters.engine import Holding
from adapters.reconcile import Reconciler, Repair
from adapters.tasks import InTurn
from adapters.testing import FakeEngine
from tests.unit.adapters.conftest import MakeStable


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


class Slow(FakeEngine):
    """Loads nothing before `go_on` is set."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.go_on = asyncio.Event()
        self.seen = asyncio.Event()
        """Somebody has read what it holds."""
        self.told = asyncio.Event()
        self.told.set()
        """Until it is set, whoever has read that does not have it yet."""

    async def load(self, version_id: str, path: Path) -> None:
        await self.go_on.wait()
        await super().load(version_id, path)

    async def holding(self) -> Holding:
        held = await super().holding()
        self.seen.set()
        await self.told.wait()
        return held


@pytest.fixture
def slow() -> Slow:
    return Slow("fake://slow")


@pytest.fixture
def hasty(
    reconcile: Callable[[Sequence[FakeEngine]], Reconciler], slow: Slow, engines: list[FakeEngine]
) -> Reconciler:
    """Of a quick replica and a slow one. Waits for no load of any length."""
    reconciler = reconcile([engines[0], slow])
    reconciler._loads = InTurn(0.01)
    return reconciler


async def over(reconciler: Reconciler) -> None:
    """Until the loads that go on have ended."""
    await asyncio.wait(reconciler._loads._running.values())


async def test_a_version_that_moves_stays_where_it_is_until_its_new_replica_serves_it(
    hasty: Reconciler,
    slow: Slow,
    engines: list[FakeEngine],
    make_stable: MakeStable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moving = (await make_stable()).id
    await engines[0].load(moving, tmp_path)
    moved = {engines[0].url: frozenset[str](), slow.url: frozenset({moving})}
    monkeypatch.setattr(reconciling, "plan", lambda *_: moved)
    for _ in range(2):
        assert (await hasty.run_once()).unloaded == []
    slow.go_on.set()
    await over(hasty)
    repairs = await hasty.run_once()
    assert repairs.loaded == [Repair(slow.url, moving)]
    assert repairs.unloaded == [Repair(engines[0].url, moving)]
    assert repairs.residency == {engines[0].url: set(), slow.url: {moving}}


async def test_a_load_that_ends_while_the_replicas_are_looked_at_is_reported_once(
    hasty: Reconciler, slow: Slow, make_stable: MakeStable
) -> None:
    version = await make_stable()
    await hasty.run_once()
    slow.told.clear()
    slow.seen.clear()
    second = asyncio.create_task(hasty.run_once())
    await slow.seen.wait()
    slow.go_on.set()
    await over(hasty)
    slow.told.set()
    passes = [await second, await hasty.run_once(), await hasty.run_once()]
    assert [repair for each in passes for repair in each.loaded] == [Repair(slow.url, version.id)]
    assert slow.calls == [("load", version.id)]


async def test_it_is_known_where_loads_go_on_until_a_pass_has_told_of_them(
    hasty: Reconciler, slow: Slow, engines: list[FakeEngine], make_stable: MakeStable
) -> None:
    await make_stable()
    await hasty.run_once()
    assert (hasty.loads_into(slow.url), hasty.loads_into(engines[0].url)) == (True, False)
    slow.go_on.set()
    await over(hasty)
    assert hasty.loads_into(slow.url)
    assert (await hasty.run_once()).loaded
    assert not hasty.loads_into(slow.url)
