"""What control's leader lets go of by itself, minute by minute."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from adapters import changes, tables
from gateway import loops
from gateway.loops import Loops
from tests.integration.control_house import System
from tests.waiting import until
from training.rows import insert_absent
from training.tables import interactions, run_events, runs
from training.types import RunStatus

DAYS_BEYOND = {"old": 1, "young": -1}
"""Days beyond what the journal keeps."""
INTERACTION = {"adapter": "default", "arm": "stable", "messages": [], "response": "-", "memory_ids": []} | {
    "passage_ids": [],
    "usage": {},
    "latency_ms": 1.0,
    "status": 200,
}


async def ended_run(system: System, tenant_id: str, name: str, at: datetime) -> str:
    """A run that made a step of progress and failed at that moment."""
    store = system.control.runs
    run = await store.create(tenant_id, name, "manual")
    await store.claim("learner")
    await store.event(run.id, "progress", {"step": 1})
    await store.finish(run.id, "learner", RunStatus.FAILED, "no disk")
    async with system.control.sql.begin() as connection:
        await connection.execute(sa.update(runs).where(runs.c.id == run.id).values(updated_at=at))
    return run.id


async def test_the_leader_forgets_what_is_old_and_nothing_else(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "KEPT", 3)
    monkeypatch.setattr(loops, "PRUNE_EVERY_S", 0.05)
    control, tenant = system.control, (await system.tenant())["id"]
    ages = {name: timedelta(days=control.journal_days + more) for name, more in DAYS_BEYOND.items()}
    ended = {
        name: await ended_run(system, tenant, name, datetime.now(UTC) - age) for name, age in ages.items()
    }
    rows = [{"id": name, "tenant_id": tenant, "at": datetime.now(UTC) - age} for name, age in ages.items()]
    async with control.sql.begin() as connection:
        await insert_absent(connection, interactions, [INTERACTION | row for row in rows])
        for _ in range(9):
            await changes.append(connection, tenant)

    async def left() -> tuple[list[str], list[str], int]:
        progress = sa.select(run_events.c.run_id).where(run_events.c.kind == "progress")
        async with control.sql.connect() as connection:
            logged = (await connection.execute(sa.select(interactions.c.id))).scalars().all()
            steps = (await connection.execute(progress)).scalars().all()
            positions = await connection.scalar(sa.select(sa.func.count()).select_from(tables.changes))
        return sorted(logged), list(steps), positions or 0

    async def forgotten() -> bool:
        return await left() == (["young"], [ended["young"]], changes.KEPT)

    assert (await left())[:2] == (["old", "young"], [ended["old"], ended["young"]])
    async with Loops(control).running():
        await until(forgotten)
    assert await forgotten()
    assert [event.kind for event in await control.runs.events(ended["old"])] == [
        "queued",
        "claimed",
        "failed",
    ]
