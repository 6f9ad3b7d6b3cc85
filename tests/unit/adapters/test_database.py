"""What SQL hands back."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa

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
