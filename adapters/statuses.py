"""Versions going from status to status, each inside a transaction that the caller opened."""

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters import acts, audit, changes, tables
from adapters.errors import IllegalTransition
from adapters.guards import Guard
from adapters.records import require_version
from adapters.rules import TRANSITIONS
from adapters.types import VersionStatus


async def change_status(connection: AsyncConnection, version_id: str, status: VersionStatus) -> bool:
    """Whether the version had another status. The legal sources are part of the statement, so that two writers cannot
    both leave one status."""
    sources = [source.value for source, targets in TRANSITIONS.items() if status in targets]
    table = tables.versions
    update = sa.update(table).where(table.c.id == version_id, table.c.status.in_(sources))
    if (await connection.execute(update.values(status=status.value))).rowcount:
        return True
    current = (await require_version(connection, version_id)).status
    if current is not status:
        raise IllegalTransition(version_id, current, status)
    return False


async def set_status(
    connection: AsyncConnection,
    version_id: str,
    status: VersionStatus,
    actor: str,
    reason: str,
    *,
    guard: Guard | None = None,
) -> bool:
    """As the registry's, for a transaction that changes more than the version. Whether it had another status.
    guard: must agree before it changes."""
    version = await require_version(connection, version_id)
    await changes.append(connection, version.tenant_id)  # its lock keeps writers of the tenant apart
    if guard is not None:
        await guard(connection)
    changed = await change_status(connection, version_id, status)
    if changed:
        await audit.record(connection, acts.of_version(version, status, actor, reason=reason))
    return changed


async def approve(connection: AsyncConnection, version_id: str, actor: str, *, hold: bool) -> None:
    """A person lets a version go live; hold: not by itself, so that it is retired at once. Repeating it changes
    nothing, also where the version is on its way or live by now. Raises UnknownVersion, IllegalTransition."""
    done = {VersionStatus.RETIRED} if hold else {VersionStatus.CANARY, VersionStatus.STABLE}
    if (await require_version(connection, version_id)).status in done:
        return
    await set_status(connection, version_id, VersionStatus.APPROVED, actor, "")
    if hold:
        await set_status(connection, version_id, VersionStatus.RETIRED, actor, "approved and held")


async def pass_on(
    connection: AsyncConnection, previous_id: str | None, version_id: str | None, rolled_back: bool
) -> None:
    """The stable alias goes from one version to another; None: the base model alone. Raises IllegalTransition."""
    if previous_id is not None:
        left = VersionStatus.ROLLED_BACK if rolled_back else VersionStatus.RETIRED
        await change_status(connection, previous_id, left)
    if version_id is not None:
        await change_status(connection, version_id, VersionStatus.STABLE)
