"""The operator's commands about an adapter's versions, against the real admin API."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from adapters.types import Alias
from tests.integration.control_house import Graft, System


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


async def test_what_answered_at_a_moment_is_one_command(system: System, graft: Graft) -> None:
    tenant = await system.tenant()
    one, two = [await system.version(tenant["id"]) for _ in range(2)]
    place, now = (tenant["id"], "default"), datetime.now()
    await system.control.registry.move_alias(*place, Alias.STABLE, one.id, "ada")
    for candidate in (two.id, None):
        await system.control.registry.move_alias(*place, Alias.CANDIDATE, candidate, "ada")

    async def history(*more: str) -> list[Any]:
        done = await graft("--json", "adapters", "history", "acme", *more)
        assert done.exit_code == 0, done.exception
        return [row["version"] for row in json.loads(done.output)]

    to_the_minute = "%Y-%m-%dT%H:%M"
    before, after = [(now + timedelta(minutes=each)).strftime(to_the_minute) for each in (-1, 1)]
    assert await history("--at", after) == [one.label]
    assert await history("--at", before) == []
    assert await history("--alias", "candidate") == [None, two.label]
    assert "the base model answered" in (await graft("adapters", "history", "acme", "--at", before)).output
