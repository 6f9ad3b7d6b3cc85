"""What SQL hands back."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters import database
from retrieval import database as retrieval

PARIS = timezone(timedelta(hours=1))


@pytest.mark.parametrize("moment", [database.Moment, retrieval.Moment])
def test_a_moment_comes_back_as_it_was_and_compares_across_zones(moment: type, tmp_path: Path) -> None:
    table = sa.Table("t", sa.MetaData(), sa.Column("at", moment), sa.Column("never", moment))
    noon = datetime(2026, 11, 21, 12, tzinfo=UTC)
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'moments.db'}")
    with engine.begin() as connection:
        table.create(connection)
        connection.execute(table.insert().values(at=noon.astimezone(PARIS)))
        row = connection.execute(sa.select(table, sa.func.max(table.c.at).label("latest"))).one()
        later = sa.select(sa.func.count()).where(table.c.at > (noon - timedelta(minutes=1)).astimezone(PARIS))
        assert connection.execute(later).scalar_one() == 1
    assert (row.at, row.at.tzinfo, row.never, row.latest) == (noon, UTC, None, noon)


@pytest.mark.parametrize("connect", [database.connect, retrieval.open_engine])
async def test_what_no_database_takes_is_replaced_in_text_and_in_json(
    connect: Callable[[str], AsyncEngine], tmp_path: Path
) -> None:
    """What only looks like it stays, and who asks for it finds nothing."""
    table = sa.Table("t", sa.MetaData(), sa.Column("text", sa.Text), sa.Column("json", sa.JSON))
    engine = connect(f"sqlite+aiosqlite:///{tmp_path}/graft.db")
    told = ["a\0b", "\0\0", "\\\0", r"\u0000", r"\\u0000", "\ud83d", "schön"]
    async with engine.begin() as connection:
        await connection.run_sync(table.metadata.create_all)
        await connection.execute(sa.insert(table), [{"text": each, "json": [each]} for each in told])
        rows = (await connection.execute(sa.select(table))).all()
        (found,) = (await connection.execute(sa.select(sa.func.count()).where(table.c.text == "a\0b"))).one()
        raw = (await connection.execute(sa.select(sa.cast(table.c.json, sa.Text)))).scalars().all()
    await engine.dispose()
    kept = ["a\ufffdb", "\ufffd\ufffd", "\\\ufffd", r"\u0000", r"\\u0000", "?", "schön"]
    assert [row.text for row in rows] == kept
    assert [row.json for row in rows] == [[each] for each in kept]
    assert raw[0] == r'["a\ufffdb"]' and found == 1
