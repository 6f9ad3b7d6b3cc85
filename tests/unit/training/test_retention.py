"""What the record does not keep for ever."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from training import retention, tables
from training.retention import forget_interactions, forget_progress, forget_versions
from training.rows import insert_absent
from training.runs import RunStore
from training.tables import datasets, interactions

NOW = datetime(2026, 11, 21, tzinfo=UTC)
PLAIN = {
    "tenant_id": "ten_1",
    "adapter": "default",
    "version_id": None,
    "arm": "stable",
    "messages": [],
    "response": "I do not know.",
    "memory_ids": [],
    "passage_ids": [],
    "session_id": None,
    "usage": {},
    "latency_ms": 1.0,
    "status": 200,
}


async def test_old_interactions_go_a_batch_at_a_time(database: AsyncEngine, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(retention, "_AT_ONCE", 2)
    async with database.begin() as connection:
        rows = [{**PLAIN, "id": f"chatcmpl-{n}", "at": NOW - timedelta(days=n)} for n in range(7)]
        await insert_absent(connection, interactions, rows)
    assert await forget_interactions(database, NOW - timedelta(days=1.5)) == 5
    async with database.connect() as connection:
        left = (await connection.execute(sa.select(interactions.c.id))).scalars().all()
    assert sorted(left) == ["chatcmpl-0", "chatcmpl-1"]


async def test_what_a_pruned_version_had_learned_goes_and_others_stay(database: AsyncEngine) -> None:
    runs = RunStore(database)
    for version in ("ver_1", "ver_2"):
        await runs.add_learned(version, ["fb_1", "fb_2"])
    async with database.begin() as connection:
        row = {"tenant_id": "ten_1", "adapter": "default", "content": {}, "created_at": NOW}
        await insert_absent(connection, datasets, [{**row, "digest": f"sha256:{n}"} for n in (1, 2)])
    async with database.begin() as connection:
        await forget_versions(connection, ["ver_1"], ["sha256:1"])
    assert await runs.learned(["ver_1", "ver_2"]) == {
        "ver_1": frozenset(),
        "ver_2": frozenset({"fb_1", "fb_2"}),
    }
    async with database.connect() as connection:
        assert (await connection.execute(sa.select(datasets.c.digest))).scalars().all() == ["sha256:2"]


@pytest.mark.parametrize(
    ("status", "kept"), [("queued", True), ("awaiting_approval", True), ("failed", False)]
)
async def test_a_dataset_stays_while_an_open_run_reads_it(
    database: AsyncEngine, status: str, kept: bool
) -> None:
    run = await RunStore(database).create("ten_1", "default", "manual")
    async with database.begin() as connection:
        row = {"tenant_id": "ten_1", "adapter": "default", "content": {}, "created_at": NOW}
        await insert_absent(connection, datasets, [{**row, "digest": "sha256:1"}])
        reads = sa.update(tables.runs).where(tables.runs.c.id == run.id)
        await connection.execute(reads.values(status=status, dataset_digest="sha256:1"))
    async with database.begin() as connection:
        await forget_versions(connection, [], ["sha256:1"])
        assert bool((await connection.execute(sa.select(datasets.c.digest))).all()) is kept


async def test_progress_of_runs_that_ended_long_ago_goes_and_their_story_stays(
    database: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_AT_ONCE", 2)
    runs = RunStore(database)
    ended = {"old": NOW - timedelta(days=100), "young": NOW - timedelta(days=1)}
    made = {name: await runs.create("ten_1", name, "manual") for name in (*ended, "open")}
    for run in made.values():
        for kind in ("progress", "judged", "progress", "progress", "succeeded"):
            await runs.event(run.id, kind)
    async with database.begin() as connection:
        for name, at in ended.items():
            row = sa.update(tables.runs).where(tables.runs.c.id == made[name].id)
            await connection.execute(row.values(status="succeeded", updated_at=at))
        still = sa.update(tables.runs).where(tables.runs.c.id == made["open"].id)
        await connection.execute(still.values(status="awaiting_approval", updated_at=ended["old"]))
    assert await forget_progress(database, NOW - timedelta(days=90)) == 3
    left = {name: [event.kind for event in await runs.events(run.id)] for name, run in made.items()}
    assert left["old"] == ["queued", "judged", "succeeded"]
    assert (
        left["young"] == left["open"] == ["queued", "progress", "judged", "progress", "progress", "succeeded"]
    )
