"""The one migration history against the four packages' tables."""

import json
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from adapters import tables
from adapters.database import connect
from adapters.retention import Retention
from adapters.tables import metadata as adapters
from gateway import migrate
from gateway.tables import metadata as gateway
from gateway.tables import tenants
from retrieval.tables import metadata as retrieval
from training.policies import read_policies
from training.screening import question_digest
from training.tables import dataset_corrections, datasets, feedback, learning_policies, runs
from training.tables import metadata as training

ALL = [gateway, adapters, retrieval, training]


def move(connection: sa.Connection, revision: str) -> None:
    command.upgrade(migrate.config(connection), revision)


async def test_the_migrated_schema_is_the_schema_of_the_tables(empty_url: str) -> None:
    def differences(connection: sa.Connection) -> list[object]:
        return compare_metadata(MigrationContext.configure(connection), ALL)  # type: ignore[arg-type]

    await migrate.upgrade(empty_url)
    engine = connect(empty_url)
    async with engine.connect() as connection:
        found = await connection.run_sync(differences)
    await engine.dispose()
    assert found == []


async def test_upgrading_twice_changes_nothing(empty_url: str) -> None:
    await migrate.upgrade(empty_url)
    await migrate.upgrade(empty_url)


def test_the_history_has_one_head() -> None:
    assert len(ScriptDirectory.from_config(migrate.config()).get_heads()) == 1


def test_no_table_belongs_to_two_packages() -> None:
    names = [name for metadata in ALL for name in metadata.tables]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(("digests", "named"), [(["a", "a"], [("base", "a")]), (["a", "b"], []), ([], [])])
async def test_adapters_that_share_a_base_model_are_served_before_control_has_named_it(
    empty_url: str, digests: list[str], named: list[tuple[str, str]]
) -> None:
    engine = connect(empty_url)
    async with engine.begin() as connection:
        await connection.run_sync(move, "0009")
        for number, digest in enumerate(digests):
            row = {"tenant_id": f"ten_{number}", "name": "default", "created_at": datetime.now(UTC)}
            await connection.execute(sa.insert(tables.adapters).values(base_digest=digest, **row))
        await connection.run_sync(move, "head")
        found = (await connection.execute(sa.select(tables.bases.c.name, tables.bases.c.digest))).all()
    await engine.dispose()
    assert [tuple(row) for row in found] == named


async def test_datasets_that_are_there_name_their_corrections(empty_url: str) -> None:
    facts = [
        {
            "train": [{"correction_id": "fb_1"}, {"correction_id": "fb_2"}],
            "held": [{"correction_id": "fb_1"}],
        },
        {"train": [{"correction_id": None}], "held": [{"correction_id": "fb_3"}]},
    ]
    row = {"tenant_id": "ten_1", "adapter": "default", "created_at": datetime.now(UTC)}
    engine = connect(empty_url)
    async with engine.begin() as connection:
        await connection.run_sync(move, "0010")
        for digest, content in (("sha256:1", {"facts": facts}), ("sha256:2", {"facts": []})):
            await connection.execute(sa.insert(datasets).values(digest=digest, content=content, **row))
        await connection.run_sync(move, "head")
        found = (await connection.execute(sa.select(dataset_corrections))).all()
    await engine.dispose()
    assert sorted(tuple(each) for each in found) == [(f"fb_{n}", "sha256:1") for n in (1, 2, 3)]


async def test_a_run_that_was_asked_to_stop_is_cancelled_by_the_upgrade(empty_url: str) -> None:
    engine = connect(empty_url)
    async with engine.begin() as connection:
        await connection.run_sync(move, "0011")
        plain = {"tenant_id": "ten_1", "phase": "gate", "trigger": "manual", "attempts": 0} | dict.fromkeys(
            ("recipe", "progress", "report", "costs"), "{}"
        )
        plain |= dict.fromkeys(("created_at", "updated_at"), "2026-01-01 00:00:00")
        asked = {"asked": ("running", True), "untouched": ("running", False), "ended": ("succeeded", True)}
        for name, (status, stop) in asked.items():
            row = plain | {"id": name, "adapter": name, "status": status, "cancel_requested": stop}
            names, values = ", ".join(row), ", ".join(f":{key}" for key in row)
            await connection.execute(sa.text(f"INSERT INTO runs ({names}) VALUES ({values})"), row)
        await connection.run_sync(move, "head")
        found = (await connection.execute(sa.select(runs.c.id, runs.c.status).order_by(runs.c.id))).all()
    await engine.dispose()
    assert dict(map(tuple, found)) == {"asked": "cancelled", "untouched": "running", "ended": "succeeded"}


async def test_a_policys_screening_is_told_to_the_learner_by_the_upgrade(empty_url: str) -> None:
    engine = connect(empty_url)
    async with engine.begin() as connection:
        await connection.run_sync(move, "0013")
        for name, policy in (("ten_1", {"screening": {"pii": "allow"}}), ("ten_2", {})):
            plain = {"id": name, "external_id": name, "name": name, "created_at": datetime.now(UTC)}
            await connection.execute(sa.insert(tenants).values(policy=policy, **plain))
            document = {"approval": "manual"}
            await connection.execute(sa.insert(learning_policies).values(tenant_id=name, document=document))
        await connection.run_sync(move, "head")
    read = await read_policies(engine)
    await engine.dispose()
    assert {name: policy.screening.pii for name, policy in read.items()} == {
        "ten_1": "allow",
        "ten_2": "quarantine",
    }
    assert {policy.approval for policy in read.values()} == {"manual"}


async def test_files_of_what_was_pruned_long_ago_are_not_looked_for_after_the_upgrade(empty_url: str) -> None:
    now = datetime.now(UTC)
    ages = {"kept": None, "lately": timedelta(days=1), "long": timedelta(days=3)}
    plain = {"tenant_id": "ten_1", "adapter": "default", "base_digest": "b", "source": "trained"}
    plain |= {"recipe": {}, "metrics": {}, "status": "retired", "created_at": now - timedelta(days=9)}
    engine = connect(empty_url)
    async with engine.begin() as connection:
        await connection.run_sync(move, "0014")
        for number, (name, age) in enumerate(ages.items()):
            row = {"id": name, "number": number, "artifact_digest": f"sha256:{name}"} | plain
            gone = None if age is None else now - age
            await connection.execute(sa.insert(tables.versions).values(pruned_at=gone, **row))
        await connection.run_sync(move, "head")
        found = await connection.execute(sa.select(tables.versions.c.id, tables.versions.c.swept_at))
        swept = {row.id for row in found if row.swept_at is not None}
    left = await Retention(engine).leftovers([])
    await engine.dispose()
    assert swept == {"long"} and left == ["sha256:lately"]


async def test_the_upgrade_says_what_every_corrections_question_is(empty_url: str) -> None:
    plain = {"tenant_id": "ten_1", "adapter": "default", "author": "key_1", "status": "accepted"}
    plain |= {"metadata": "{}", "reasons": "[]", "created_at": "2026-01-01 00:00:00", "trusted": True}
    asked = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "How LONG?"}]
    said = {"fb_corrected": "2 years", "fb_rated": None} | {f"fb_{n:04}": "2 years" for n in range(1000)}
    engine = connect(empty_url)
    async with engine.begin() as connection:
        await connection.run_sync(move, "0015")
        names = ", ".join([*plain, "id", "messages", "correction"])
        values = ", ".join(f":{name}" for name in [*plain, "id", "messages", "correction"])
        rows = [
            plain | {"id": each, "messages": json.dumps(asked), "correction": said[each]} for each in said
        ]
        await connection.execute(sa.text(f"INSERT INTO feedback ({names}) VALUES ({values})"), rows)
        await connection.run_sync(move, "head")
        found = (await connection.execute(sa.select(feedback.c.id, feedback.c.question_digest))).all()
    await engine.dispose()
    wanted = question_digest([{"role": "user", "content": "how long"}])
    assert {row.id: row.question_digest for row in found} == {
        name: None if text is None else wanted for name, text in said.items()
    }
