"""What is made of an open rollout's counts, where they cannot be judged."""

import pytest
import sqlalchemy as sa

from adapters.rollout import Plan
from adapters.tables import rollouts
from adapters.types import VersionStatus
from tests.unit.gateway.rollout_world import World


async def test_a_rollout_that_cannot_be_judged_holds_up_no_other(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """A bound names a signal that this release does not know."""
    await world.registry.ensure_adapter("ten_a", "other", "sha256:base")
    strange, other = await world.approved(), await world.approved("other")
    for version in (strange, other):
        await world.canaries.start(version, Plan((100,), watch_seconds=3600), "ada")
    async with world.sql.begin() as connection:
        mine = sa.update(rollouts).where(rollouts.c.version_id == strange.id)
        await connection.execute(mine.values(bounds={"boredom": 0.5}))
    await world.canaries.run_once()
    assert (await world.status(strange), await world.status(other)) == (
        VersionStatus.CANARY,
        VersionStatus.STABLE,
    )
    assert "boredom" in caplog.text
