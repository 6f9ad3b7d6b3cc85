"""What control's loops write down of the reconciler's passes."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import AsyncMock, MagicMock

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters import audit
from adapters.drains import Drains
from adapters.reconcile import Repair, Repairs
from gateway.control import Control
from gateway.loops import Loops

FAILED = Repairs(failed=[Repair("fake://slow", "ver_1", "no")])


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


class Passes:
    """A reconciler that does what it is told. loading: the replicas where loads go on."""

    def __init__(self) -> None:
        self.repairs = Repairs()
        self.loading: set[str] = set()

    async def run_once(self, *_: object) -> Repairs:
        return self.repairs

    def loads_into(self, url: str) -> bool:
        return url in self.loading


@pytest.fixture
def passes() -> Passes:
    return Passes()


@pytest.fixture
def loops(database: AsyncEngine, passes: Passes) -> Loops:
    workers = SimpleNamespace(
        asked=AsyncMock(return_value={}), leases=AsyncMock(return_value={}), tell_residency=AsyncMock()
    )
    told = {"sql": database, "reconciler": passes, "workers": workers, "drains": Drains(database)}
    return Loops(cast(Control, MagicMock(**told, tenants=None)))


async def noted(database: AsyncEngine) -> list[Mapping[str, Any] | None]:
    return [each.act.detail for each in await audit.entries(database) if each.act.action == "engine.failed"]


async def test_a_slow_load_that_fails_again_and_again_is_written_down_once(
    loops: Loops, passes: Passes, database: AsyncEngine
) -> None:
    """The passes while it is tried again report nothing."""
    passes.loading = {"fake://slow"}
    for repairs in (FAILED, Repairs(), Repairs(), FAILED, Repairs(), FAILED):
        passes.repairs = repairs
        await loops.reconcile()
    assert await noted(database) == [{"engine": "fake://slow", "error": "no"}]


async def test_what_fails_again_after_it_went_well_is_written_down_again(
    loops: Loops, passes: Passes, database: AsyncEngine
) -> None:
    passes.loading = {"fake://other"}
    for repairs in (FAILED, FAILED, Repairs(), FAILED):
        passes.repairs = repairs
        await loops.reconcile()
    assert len(await noted(database)) == 2
