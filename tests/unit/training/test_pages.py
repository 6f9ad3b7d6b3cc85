"""What a page of a long list costs, however long the list is."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.unit.steps import steps
from training.feedback import FeedbackStore
from training.runs import RunStore
from training.tables import feedback, runs
from training.types import CorrectionStatus, RunStatus

START = datetime(2026, 11, 1, tzinfo=UTC)
NEVER_MANY = {"response_id": "resp_2"}
REVIEWS = {"status": CorrectionStatus.QUARANTINED, "newest_first": False}
ENDED = [RunStatus.REJECTED]
REPORT = {"verdict": "fail", "production": "ver_1", "checks": [{"name": "facts"}], "cases": [{"after": "2"}]}


def row(number: int, **changes: Any) -> dict[str, Any]:
    made = START + timedelta(minutes=number)
    return {
        "id": f"row_{number:05}",
        "tenant_id": "ten_1",
        "adapter": "default",
        "created_at": made,
        **changes,
    }


def said(number: int) -> dict[str, Any]:
    status = CorrectionStatus.ACCEPTED if number % 2 else CorrectionStatus.QUARANTINED
    words = {"messages": [], "metadata": {}, "reasons": [], "author": "key_1"}
    return row(number, **words, status=status.value, response_id=f"resp_{number}")


def ended(number: int, **changes: Any) -> dict[str, Any]:
    how = {"status": RunStatus.REJECTED.value, "phase": "done", "trigger": "count", "attempts": 0}
    empty: dict[str, Any] = {"recipe": {}, "progress": {}, "costs": {}, "report": REPORT}
    return {**row(number, **how, **empty, updated_at=START), **changes}


def elsewhere(number: int) -> dict[str, Any]:
    """A newer run of another tenant."""
    made = START + timedelta(days=9, minutes=number)
    return ended(number, id=f"other_{number:05}", tenant_id="ten_2", created_at=made)


async def filled(database: AsyncEngine, numbers: Iterable[int]) -> None:
    many = list(numbers)
    async with database.begin() as connection:
        await connection.execute(sa.insert(feedback), [said(number) for number in many])
        await connection.execute(sa.insert(runs), [ended(number) for number in many])
        await connection.execute(sa.insert(runs), [elsewhere(number) for number in many])


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("after", [None, "row_00020"])
@pytest.mark.parametrize("wanted", [{}, {"newest_first": False}, REVIEWS, NEVER_MANY])
async def test_a_page_of_feedback_costs_as_much_among_many(
    database: AsyncEngine, wanted: dict[str, Any], after: str | None
) -> None:
    store = FeedbackStore(database)
    await filled(database, range(40))
    few = await steps(database, lambda: store.list("ten_1", limit=5, after=after, **wanted))
    await filled(database, range(40, 1000))
    assert await steps(database, lambda: store.list("ten_1", limit=5, after=after, **wanted)) < 1.5 * few


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("after", [None, "row_00020"])
@pytest.mark.parametrize("wanted", [{}, {"adapter": "default"}, {"statuses": ENDED}])
async def test_a_page_of_a_tenants_runs_costs_as_much_among_many(
    database: AsyncEngine, wanted: dict[str, Any], after: str | None
) -> None:
    store = RunStore(database)
    await filled(database, range(40))
    few = await steps(database, lambda: store.list(tenant_id="ten_1", limit=5, after=after, **wanted))
    await filled(database, range(40, 1000))
    many = await steps(database, lambda: store.list(tenant_id="ten_1", limit=5, after=after, **wanted))
    assert many < 1.5 * few


async def test_a_page_of_runs_holds_what_their_gates_decided_and_not_what_they_asked(
    database: AsyncEngine,
) -> None:
    unjudged, first = ended(0, report={}), ended(1, report={**REPORT, "production": None})
    async with database.begin() as connection:
        await connection.execute(sa.insert(runs), [unjudged, first, ended(2)])
    page = await RunStore(database).list()
    assert [run.report for run in page] == [
        {"verdict": "fail", "production": "ver_1"},
        {"verdict": "fail", "production": None},
        {},
    ]
