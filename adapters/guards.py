"""What must still be so when an alias moves or a status changes: looked at in the same transaction, after its first
write."""

from collections.abc import Awaitable, Callable

from sqlalchemy.ext.asyncio import AsyncConnection

from adapters import rollout_records
from adapters.errors import ConflictError
from adapters.records import require_version
from adapters.types import Rollout, Version

Guard = Callable[[AsyncConnection], Awaitable[None]]
"""Raises ConflictError when what was decided on is so no longer."""


def unchanged_version(version: Version) -> Guard:
    """It has the status that it was read with."""

    async def guard(connection: AsyncConnection) -> None:
        status = (await require_version(connection, version.id)).status
        if status is not version.status:
            raise ConflictError(f"version {version.id} is {status} by now")

    return guard


def free_version(version: Version) -> Guard:
    """It has the status that it was read with, and its adapter no open rollout: nobody has begun one meanwhile."""
    unchanged = unchanged_version(version)

    async def guard(connection: AsyncConnection) -> None:
        await unchanged(connection)
        if await rollout_records.is_busy(connection, version.tenant_id, version.adapter):
            raise ConflictError(f"adapter {version.adapter!r} has an open rollout")

    return guard


def unchanged_rollout(rollout: Rollout) -> Guard:
    """It has the status that it was read with: nobody paused or ended it."""

    async def guard(connection: AsyncConnection) -> None:
        place = rollout.tenant_id, rollout.adapter
        status = (await rollout_records.get(connection, *place, rollout.id)).status
        if status is not rollout.status:
            raise ConflictError(f"rollout {rollout.id} is {status} by now")

    return guard
