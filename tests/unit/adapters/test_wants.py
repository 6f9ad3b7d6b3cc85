"""Pins of versions."""

import asyncio
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.errors import UnknownVersion
from adapters.tables import pins
from adapters.wants import Wants
from tests.unit.adapters.conftest import MakeVersion


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
        if statement.startswith("INSERT INTO pins"):
            row = {"version_id": version.id, "actor": "bob", "at": datetime.now(UTC)}
            with other.begin() as connection:
                connection.execute(sa.insert(pins).values(row))

    event.listen(database.sync_engine, "before_cursor_execute", be_faster)
    await Wants(database).pin(version.id, "ada")
    async with database.connect() as connection:
        (pin,) = (await connection.execute(sa.select(pins))).all()
    other.dispose()
    assert (pin.version_id, pin.actor) == (version.id, "bob")


async def test_what_does_not_exist_is_not_pinned(database: AsyncEngine) -> None:
    with pytest.raises(UnknownVersion):
        await Wants(database).pin("ver_nothing", "ada")
