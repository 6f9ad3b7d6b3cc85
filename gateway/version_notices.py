"""Tells a tenant's webhook what became of a version outside of a rollout. Part of the transaction of what it tells."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.records import require_version
from adapters.rollout_records import has_open
from adapters.types import AliasMove, Version
from gateway.policy import Policy
from gateway.tables import tenants
from gateway.webhooks import enqueue


async def tell_rejected(connection: AsyncConnection, version: Version, reason: str, actor: str) -> None:
    """It was approved, and did not go live."""
    data = {"adapter": version.adapter, "version": version.label, "version_id": version.id}
    await _tell(connection, version.tenant_id, "version.rejected", {**data, "reason": reason, "actor": actor})


async def tell_rolled_back(connection: AsyncConnection, move: AliasMove) -> None:
    """The version's own rollout, if one is open, tells by itself how it ends."""
    if move.previous_id is not None and await has_open(connection, move.previous_id):
        return
    labels = [
        None if each is None else (await require_version(connection, each)).label
        for each in (move.previous_id, move.version_id)
    ]
    data = {
        "adapter": move.adapter,
        "version": labels[0],
        "version_id": move.previous_id,
        "to": labels[1] or "base",
        "to_id": move.version_id,
        "actor": move.actor,
    }
    await _tell(connection, move.tenant_id, "version.rolled_back", data)


async def _tell(connection: AsyncConnection, tenant_id: str, kind: str, data: Mapping[str, Any]) -> None:
    stored = await connection.scalar(sa.select(tenants.c.policy).where(tenants.c.id == tenant_id))
    policy, _ = Policy.stored(stored or {})
    if policy.rollout.webhook:
        await enqueue(connection, tenant_id, policy.rollout.webhook, kind, {"tenant_id": tenant_id, **data})
