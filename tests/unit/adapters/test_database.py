"""What SQL hands back."""

import math
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


TEXTS = (
    ("a\0b", "a\ufffdb"),
    ("\0\0", "\ufffd\ufffd"),
    ("\\\0", "\\\ufffd"),
    (r"\u0000", r"\u0000"),
    (r"\\u0000", r"\\u0000"),
    ("\ud83d", "?"),
    ("schön", "schön"),
)
DOCUMENTS = (
    *([[told], [kept]] for told, kept in TEXTS),
    ([math.nan, -math.inf, 0.5], [None, None, 0.5]),
    ({"loss": math.inf, "said": "\ud83d\0", 7: "schön"}, {"loss": None, "said": "?\ufffd", "7": "schön"}),
)
"""Told, and what is kept of it. What only looks like something that no database takes stays."""


@pytest.mark.parametrize("connect", [database.connect, retrieval.open_engine])
async def test_what_no_database_takes_is_replaced_in_text_and_in_json(
    connect: Callable[[str], AsyncEngine], tmp_path: Path
) -> None:
    engine, tables = connect(f"sqlite+aiosqlite:///{tmp_path}/graft.db"), sa.MetaData()
    texts = sa.Table("texts", tables, sa.Column("value", sa.Text))
    documents = sa.Table("documents", tables, sa.Column("value", sa.JSON))
    async with engine.begin() as connection:
        await connection.run_sync(tables.create_all)
        for table, cases in ((texts, TEXTS), (documents, DOCUMENTS)):
            await connection.execute(sa.insert(table), [{"value": told} for told, _ in cases])
            found = (await connection.execute(sa.select(table.c.value))).scalars().all()
            assert found == [kept for _, kept in cases]
        same = sa.select(sa.func.count()).where(texts.c.value == "a\0b")
        assert (await connection.execute(same)).scalar_one() == 1
        raw = (await connection.execute(sa.select(sa.cast(documents.c.value, sa.Text)))).scalars().first()
        assert raw == r'["a\ufffdb"]'
    await engine.dispose()
