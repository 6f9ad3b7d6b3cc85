"""What reads of rollouts cost once there have been many."""

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters import rollout_records, tables


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("read", ["open", "splits", "in use"])
async def test_open_rollouts_are_found_without_reading_those_that_ended(
    database: AsyncEngine, read: str
) -> None:
    asked: list[tuple[str, Any]] = []
    async with database.connect() as connection:

        def listen(_connection: object, _cursor: object, statement: str, given: Any, *_: object) -> None:
            asked.append((statement, given))

        sa.event.listen(connection.sync_connection, "before_cursor_execute", listen)
        if read == "open":
            await rollout_records.open_ones(connection)
        elif read == "splits":
            await rollout_records.read_splits(connection, None)
        else:
            await connection.execute(rollout_records.versions_in_use())
        ((statement, given),) = asked
        plan = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", given)
        reads = [row.detail for row in plan.all() if tables.rollouts.name in row.detail]
    assert reads and all("rollouts_open" in step for step in reads), reads
