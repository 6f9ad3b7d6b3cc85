"""How a version enters the record, inside a transaction that `adapters.registry` opened."""

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters import acts, audit, changes, tables
from adapters.errors import UnknownAdapter, WrongBase
from adapters.records import find_adapter, hold_files, of, of_run, require_version, with_artifact
from adapters.types import Lineage, Version, VersionStatus


def new_version(
    tenant_id: str,
    adapter: str,
    artifact_digest: str,
    lineage: Lineage,
    metrics: Mapping[str, Any],
    status: VersionStatus = VersionStatus.REGISTERED,
) -> Mapping[str, Any]:
    """The row of a version that gets the next number when it is inserted."""
    return {
        "id": f"ver_{secrets.token_hex(12)}",
        "tenant_id": tenant_id,
        "adapter": adapter,
        "number": _next_number(tenant_id, adapter),
        "artifact_digest": artifact_digest,
        "base_digest": lineage.base_digest,
        "recipe": dict(lineage.recipe),
        "dataset_digest": lineage.dataset_digest,
        "parent_id": lineage.parent_id,
        "run_id": lineage.run_id,
        "source": lineage.source,
        "actor": lineage.actor,
        "metrics": dict(metrics),
        "status": status.value,
        "created_at": datetime.now(UTC),
    }


def _next_number(tenant_id: str, adapter: str) -> sa.ScalarSelect[int]:
    table = tables.versions
    newest = sa.select(sa.func.coalesce(sa.func.max(table.c.number), 0) + 1)
    return newest.where(*of(table, tenant_id, adapter)).scalar_subquery()


async def insert_version(
    connection: AsyncConnection, values: Mapping[str, Any], *, once: bool
) -> tuple[Version, bool]:
    """The version that this row made, and True; or the one that there is already, of the same run or, with `once`, of
    the same artifact, and False. Raises UnknownAdapter, WrongBase, IntegrityError."""
    place = (values["tenant_id"], values["adapter"])
    await changes.append(connection, values["tenant_id"])
    adapter = await find_adapter(connection, *place)
    if adapter is None:
        raise UnknownAdapter(*place)
    if adapter.base_digest != values["base_digest"]:
        raise WrongBase(adapter.base_digest, values["base_digest"])
    await hold_files(connection, values["artifact_digest"])
    found = None
    if once:
        found = await with_artifact(connection, *place, values["artifact_digest"])
    elif values["run_id"]:
        found = await of_run(connection, *place, values["run_id"])
    if found is not None:
        return found, False
    await connection.execute(sa.insert(tables.versions).values(values))
    made = await require_version(connection, values["id"])
    await audit.record(connection, acts.registered(made))
    return made, True
