"""What PostgreSQL does otherwise than SQLite, where our own tables and statements meet it."""

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine
from typer.testing import CliRunner, Result

from adapters import audit, changes
from adapters.audit import Act
from adapters.database import connect
from adapters.registry import Registry
from adapters.tables import changes as change_log
from adapters.types import Lineage
from gateway import migrate
from gateway.cli.main import app as commands
from gateway.keys import ALL_SCOPES
from gateway.launch_errors import LaunchError
from gateway.loader import SnapshotLoader
from gateway.tables import tenants
from gateway.tenants import TenantStore
from retrieval.database import open_engine
from retrieval.entries import EntryRow, EntryStore
from retrieval.store import DocumentStore, PassageRow, default_store_id
from retrieval.types import Attachment, MemoryEntry
from tests.integration.control_house import refused
from tests.postgres import Postgres
from training.runs import RunStore

ONLY = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture
async def searched(database_url: str) -> AsyncIterator[AsyncEngine]:
    """As the retrieval service opens it."""
    engine = open_engine(database_url)
    yield engine
    await engine.dispose()


@pytest.mark.parametrize("empty_url", ["postgresql"], indirect=True)
async def test_processes_that_migrate_at_once_follow_each_other(empty_url: str) -> None:
    await asyncio.gather(*(migrate.upgrade(empty_url) for _ in range(3)))
    engine = connect(empty_url)
    assert await TenantStore(engine).count() == 0
    await engine.dispose()


async def test_a_database_that_is_away_is_said_to_be_away(postgres_server: Postgres) -> None:
    with postgres_server.database() as gone:
        pass
    with pytest.raises(LaunchError, match=r"does not exist.*GRAFT_DATABASE_URL"):
        await migrate.upgrade(gone)


@ONLY
@pytest.mark.parametrize("of_retrieval", [False, True])
async def test_a_connection_that_was_cut_fails_nobody(database_url: str, of_retrieval: bool) -> None:
    engine = (open_engine if of_retrieval else connect)(database_url)
    others = sa.text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    async with engine.connect() as one, engine.connect() as two:
        await one.execute(sa.select(1))
        await two.execute(sa.select(1))
    async with engine.connect() as survivor:
        await survivor.execute(others.columns())
    for _ in range(3):
        async with engine.connect() as one, engine.connect() as two:
            assert await one.scalar(sa.select(1)) == await two.scalar(sa.select(1)) == 1
    await engine.dispose()


async def test_a_moment_at_the_end_of_time_takes_no_worker_down(database: AsyncEngine) -> None:
    end = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    store = TenantStore(database)
    acme, _, _ = await store.upsert("acme", "Acme", "test")
    issued = await store.create_key(acme.id, "for ever", sorted(ALL_SCOPES), "test", end)
    snapshot = await SnapshotLoader(database, "salt").load()
    assert snapshot.keys[issued.key.public_id].expires_at == end


async def test_a_moment_of_another_zone_comes_back_in_utc(database: AsyncEngine) -> None:
    noon = datetime(2026, 11, 21, 12, tzinfo=timezone(timedelta(hours=-8)))
    async with database.begin() as connection:
        row = {"id": "ten_1", "external_id": "a", "name": "a", "policy": {}, "created_at": noon}
        await connection.execute(sa.insert(tenants).values(row))
        found = await connection.scalar(sa.select(tenants.c.created_at))
    assert found == noon and found is not None and found.tzinfo is UTC


async def test_counts_go_beyond_32_bits(database: AsyncEngine) -> None:
    for _ in range(2):
        await audit.record_alone(database, Act("ada", "test.done", "it"))
    assert len(await audit.entries(database, after=2**40)) == 2
    async with database.begin() as connection:
        await connection.execute(sa.insert(change_log).values(id=2**40, tenant_id="ten_1"))
        assert await changes.since(connection, 2**40 - 1) == (2**40, {"ten_1"})


@ONLY
async def test_the_database_counts_on_beyond_32_bits(database: AsyncEngine) -> None:
    async with database.begin() as connection:
        await connection.execute(sa.text("SELECT setval('changes_id_seq', 3000000000)"))
        assert await changes.append(connection, "ten_1") == 3_000_000_001


async def test_a_position_that_was_rolled_back_is_not_waited_for(database: AsyncEngine) -> None:
    registry = Registry(database)
    await registry.ensure_adapter("ten_1", "default", "sha256:base")
    before = await registry.position()
    with pytest.raises(RuntimeError):
        async with database.begin() as connection:
            await changes.append(connection, "ten_2")
            raise RuntimeError
    await registry.ensure_adapter("ten_3", "default", "sha256:base")
    async with database.connect() as connection:
        newest, changed = await changes.since(connection, before)
    assert newest > before and changed == {"ten_3"}


async def test_followers_pass_no_position_that_is_still_to_come(database: AsyncEngine) -> None:
    """Writers of many tenants at once: whoever follows reads every one of them."""
    registry = Registry(database)

    async def write(number: int) -> None:
        for name in ("default", "other"):
            await registry.ensure_adapter(f"ten_{number}", name, "sha256:base")

    writing = asyncio.gather(*(write(number) for number in range(12)))
    seen: set[str] = set()
    position, ended = 0, False
    while not ended:
        ended = writing.done()
        async with database.connect() as connection:
            position, changed = await changes.since(connection, position)
        seen |= changed or set()
    await writing
    assert seen == {f"ten_{number}" for number in range(12)}


@ONLY
async def test_what_json_cannot_say_is_null(database: AsyncEngine) -> None:
    registry = Registry(database)
    await registry.ensure_adapter("ten_1", "default", "sha256:base")
    lineage = Lineage("sha256:base", {"rank": math.inf})
    metrics = {"loss": math.nan, "kept": [1, "a"], 7: np.float64(0.5)}
    made = await registry.register("ten_1", "default", "sha256:a", lineage, metrics)
    assert made.metrics == {"loss": None, "kept": [1, "a"], "7": 0.5}
    assert made.lineage.recipe == {"rank": None}
    runs = RunStore(database)
    await runs.create("ten_1", "default", "manual")
    run = await runs.claim("learner")
    assert run is not None
    await runs.update(run.id, "learner", progress={"loss": math.nan})
    assert (await runs.get(run.id)).progress == {"loss": None}


@ONLY
async def test_a_character_that_no_text_has_is_replaced(database: AsyncEngine) -> None:
    store = TenantStore(database)
    await store.upsert("acme", "A\0cme \ud800", "test")
    assert (await store.get("acme")).name == "A\ufffdcme ?"


async def test_documents_hold_any_text_and_are_attached_at_once(searched: AsyncEngine) -> None:
    store, vector = DocumentStore(searched), np.ones(4, np.float32)
    place = default_store_id("ten_1")
    await asyncio.gather(*(store.default_store("ten_1") for _ in range(4)))
    file = await store.add_file("ten_1", "a\0.md", "assistants", b"\0")
    attachment = Attachment(place, file.id, "ten_1", "completed", None, {}, 0, datetime.now(UTC))
    rows = [
        PassageRow(f"psg_{number}", "ten_1", place, file.id, 0, "A", "B \0", "sha256:e", vector)
        for number in range(4)
    ]
    await asyncio.gather(*(store.attach(attachment, [row]) for row in rows))
    (kept,) = await store.passages("ten_1", place)
    assert kept.id in {row.id for row in rows} and np.array_equal(kept.vector, vector)
    assert (await store.attachment("ten_1", place, file.id)).file_id == file.id
    assert await store.content("ten_1", file.id) == b"\0"


async def test_an_entry_that_many_put_at_once_is_there_once(searched: AsyncEngine) -> None:
    entries, vector = EntryStore(searched), np.arange(4, dtype=np.float32)
    entry = EntryRow(MemoryEntry("fb_1", "ten_1", "What?", "2 \0 years"), "sha256:e/7", vector)
    said = [replace(entry, entry=replace(entry.entry, question=f"{number}?")) for number in range(6)]
    await asyncio.gather(*(entries.put([each]) for each in said))
    (found,) = await entries.of("ten_1")
    assert found.entry.question in {each.entry.question for each in said}
    assert np.array_equal(found.vector, vector)


def graft_migrate(url: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> Result:
    """The operator's command."""
    monkeypatch.setenv("GRAFT_DATABASE_URL", url)
    return CliRunner().invoke(commands, ["--data-dir", str(directory), "migrate"])


@pytest.mark.parametrize("empty_url", ["postgresql"], indirect=True)
def test_the_command_migrates_what_the_environment_names(
    empty_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = graft_migrate(empty_url, tmp_path, monkeypatch)
    assert done.exit_code == 0, done.output
    engine = sa.create_engine(empty_url)
    with engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(tenants)) == 0
    engine.dispose()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_the_command_says_in_a_sentence_what_it_cannot_use(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = graft_migrate(f"{scheme}://graft:hunter2@127.0.0.1:1/graft", tmp_path, monkeypatch)
    said = f"{refused(done)} {refused(done).fix}"
    assert "GRAFT_DATABASE_URL" in said and "hunter2" not in said
