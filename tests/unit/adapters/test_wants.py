"""What the engines are wanted to hold, and pins."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.errors import ArtifactMissing, UnknownVersion
from adapters.retention import Keep, mark
from adapters.tables import aliases, pins, versions
from adapters.types import VersionStatus
from adapters.wants import Wants
from tests.unit.adapters.conftest import MakeVersion
from tests.unit.steps import steps


async def test_one_version_pinned_by_many_at_once_is_pinned_once(
    database: AsyncEngine, make_version: MakeVersion
) -> None:
    version, wants = await make_version(), Wants(database)
    await asyncio.gather(*(wants.pin(version.id, f"person {number}") for number in range(8)))
    assert await wants.pins() == {version.id}
    await asyncio.gather(*(wants.unpin(version.id, "ada") for _ in range(2)))
    assert await wants.pins() == frozenset()


async def test_a_pin_that_somebody_else_sets_in_the_same_moment_stays(
    database: AsyncEngine, make_version: MakeVersion
) -> None:
    """Between the look at the version and the write of the pin."""
    version = await make_version()
    other = sa.create_engine(database.url.set(drivername=database.dialect.name))

    def be_faster(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("INSERT INTO changes"):
            row = {"version_id": version.id, "actor": "bob", "at": datetime.now(UTC)}
            with other.begin() as connection:
                connection.execute(sa.insert(pins).values(row))

    event.listen(database.sync_engine, "before_cursor_execute", be_faster)
    await Wants(database).pin(version.id, "ada")
    async with database.connect() as connection:
        (pin,) = (await connection.execute(sa.select(pins))).all()
    other.dispose()
    assert (pin.version_id, pin.actor) == (version.id, "bob")


async def test_a_version_that_retention_lets_go_in_the_same_moment_is_not_pinned(
    database: AsyncEngine, make_version: MakeVersion
) -> None:
    version, wants = await make_version(VersionStatus.REJECTED), Wants(database)
    looked = asyncio.Event()

    def look(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("SELECT versions"):
            looked.set()

    async with database.begin() as connection:
        await mark(connection, "ten_acme", "default", Keep(0, 0.0), {}, "ada")
        event.listen(database.sync_engine, "before_cursor_execute", look)
        pinning = asyncio.create_task(wants.pin(version.id, "bob"))
        await looked.wait()
    with pytest.raises(ArtifactMissing):
        await pinning
    assert await wants.pins() == frozenset()


async def filled(database: AsyncEngine, numbers: range) -> None:
    """A tenant for each number, whose first of two versions is stable."""
    made, rows, pointers = datetime(2026, 1, 1, tzinfo=UTC), [], []
    for number in numbers:
        place = {"tenant_id": f"ten_{number:05}", "adapter": "default"}
        pointers.append({**place, "alias": "stable", "version_id": f"ver_{number:05}_1", "revision": 1})
        for which, status in ((1, "stable"), (2, "retired")):
            row = {**place, "id": f"ver_{number:05}_{which}", "number": which, "status": status}
            row |= {"artifact_digest": "sha256:a", "base_digest": f"sha256:{number % 2}"}
            rows.append(row | {"recipe": {}, "metrics": {}, "created_at": made + timedelta(seconds=number)})
    async with database.begin() as connection:
        await connection.execute(sa.insert(versions), rows)
        await connection.execute(sa.insert(aliases), pointers)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_what_is_wanted_is_found_without_reading_every_tenant(database: AsyncEngine) -> None:
    wants = Wants(database)

    async def look() -> None:
        await wants.wanted("sha256:0", ["ver_00004_2"], ["ver_00002_1", "ver_00006_2"], 4)

    await filled(database, range(20))
    few = await steps(database, look)
    await filled(database, range(20, 1000))
    assert await steps(database, look) < 1.5 * few


async def test_wanted_is_what_somebody_needs_and_of_the_rest_the_newest(database: AsyncEngine) -> None:
    await filled(database, range(20))
    wants = Wants(database)
    await wants.pin("ver_00000_2", "ada")
    await wants.pin("ver_00001_2", "ada")
    async with database.begin() as connection:
        coming = sa.update(versions).where(versions.c.id == "ver_00008_2").values(status="approved")
        await connection.execute(coming)
    found = await wants.wanted("sha256:0", ["ver_00004_2"], ["ver_00002_1", "ver_00006_2"], 2)
    assert {name: (want.must, want.pinned) for name, want in found.items()} == {
        "ver_00000_2": (True, True),
        "ver_00008_2": (True, False),
        "ver_00004_2": (False, False),
        "ver_00002_1": (False, False),
        "ver_00018_1": (False, False),
        "ver_00016_1": (False, False),
    }


async def test_what_does_not_exist_is_not_pinned(database: AsyncEngine) -> None:
    with pytest.raises(UnknownVersion):
        await Wants(database).pin("ver_nothing", "ada")
