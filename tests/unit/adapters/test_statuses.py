"""Judgements over versions, repeated and too late."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.errors import ConflictError, IllegalTransition
from adapters.guards import unchanged_version
from adapters.registry import Registry
from adapters.statuses import approve, set_status
from adapters.types import VersionStatus
from tests.unit.adapters.conftest import MakeStable, MakeVersion


async def test_approving_again_what_is_live_by_now_changes_nothing(
    registry: Registry, database: AsyncEngine, make_stable: MakeStable
) -> None:
    version = await make_stable()
    before = await registry.position()
    async with database.begin() as connection:
        await approve(connection, version.id, "ada", hold=False)
    assert await registry.position() == before
    assert (await registry.version(version.id)).status is VersionStatus.STABLE


async def test_what_is_live_cannot_be_held(database: AsyncEngine, make_stable: MakeStable) -> None:
    version = await make_stable()
    with pytest.raises(IllegalTransition):
        async with database.begin() as connection:
            await approve(connection, version.id, "ada", hold=True)


async def test_a_judgement_over_what_has_changed_meanwhile_does_nothing(
    registry: Registry, database: AsyncEngine, make_version: MakeVersion
) -> None:
    read = await make_version(VersionStatus.APPROVED)
    await registry.set_status(read.id, VersionStatus.CANARY)
    rejected, guard = VersionStatus.REJECTED, unchanged_version(read)
    with pytest.raises(ConflictError):
        async with database.begin() as connection:
            await set_status(connection, read.id, rejected, "ada", "too late", guard=guard)
    assert (await registry.version(read.id)).status is VersionStatus.CANARY
