"""Tenants and their policies: the record behind what every worker holds in its snapshot. `gateway.key_store` has
their keys.

Each write commits together with its audit entry and its row in the change log.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters import audit, changes
from adapters.audit import Act
from gateway.errors import Conflict, NotFound
from gateway.key_store import KeyStore
from gateway.policy import Policy, Rollout
from gateway.protocol import new_id
from gateway.tables import tenants
from training.tables import learning_policies

_SHOWN = sa.select(tenants.c.id, tenants.c.external_id, tenants.c.name, tenants.c.created_at)
"""Without the policy, a document that nobody looks at in a list."""


@dataclass(frozen=True)
class Tenant:
    """`external_id` is the owner's own name for it, unique."""

    id: str
    external_id: str
    name: str
    created_at: datetime


@dataclass(frozen=True)
class StoredPolicy:
    """`revision` grows by one with every write. refused: what this release cannot read of it, and has its default."""

    policy: Policy
    revision: int
    refused: Sequence[str] = ()

    def rollout(self) -> Rollout:
        """How versions take over. Raises Conflict where that cannot be read: nothing goes live by rules that nobody
        chose."""
        for reason in self.refused:
            if reason.startswith("rollout"):
                raise Conflict(f"The tenant's stored policy cannot be read: {reason}.")
        return self.policy.rollout


class TenantStore(KeyStore):
    """Tenants, with what they own. All methods raise NotFound for what does not exist in that tenant."""

    async def upsert(self, external_id: str, name: str | None, actor: str) -> tuple[Tenant, bool, int]:
        """The tenant of that external id, made or renamed; whether it was made; the change's position (0: none). A
        tenant without a name is called by its external id, one that has a name keeps it."""
        try:
            async with self._engine.begin() as connection:
                return await self._create(connection, external_id, name or external_id, actor)
        except IntegrityError:
            return await self._rename(external_id, name, actor)

    async def _create(
        self, connection: AsyncConnection, external_id: str, name: str, actor: str
    ) -> tuple[Tenant, bool, int]:
        tenant = Tenant(new_id("ten_"), external_id, name, datetime.now(UTC))
        policy = Policy()
        row = {**asdict(tenant), "policy": policy.model_dump(mode="json"), "policy_revision": 1}
        await connection.execute(sa.insert(tenants).values(**row))
        await _store_learning(connection, tenant.id, policy)
        await audit.record(connection, Act(actor, "tenant.created", tenant.id, tenant.id, {"name": name}))
        return tenant, True, await changes.append(connection, tenant.id)

    async def _rename(self, external_id: str, name: str | None, actor: str) -> tuple[Tenant, bool, int]:
        async with self._engine.begin() as connection:
            mine = _SHOWN.where(tenants.c.external_id == external_id)
            tenant = _tenant((await connection.execute(mine)).mappings().one())
            if name is None or name == tenant.name:
                return tenant, False, 0
            await connection.execute(sa.update(tenants).where(tenants.c.id == tenant.id).values(name=name))
            await audit.record(connection, Act(actor, "tenant.renamed", tenant.id, tenant.id, {"name": name}))
            change = await changes.append(connection, tenant.id)
        return Tenant(tenant.id, external_id, name, tenant.created_at), False, change

    async def get(self, reference: str) -> Tenant:
        """By id or by external id; an id wins."""
        named = sa.or_(tenants.c.id == reference, tenants.c.external_id == reference)
        async with self._engine.connect() as connection:
            rows = (await connection.execute(_SHOWN.where(named))).mappings().all()
        if not rows:
            raise NotFound(f"There is no tenant {reference!r}.")
        return _tenant(max(rows, key=lambda row: bool(row["id"] == reference)))

    async def list(self, *, after: str | None = None, limit: int = 50) -> Sequence[Tenant]:
        """One page, by id."""
        query = _SHOWN.order_by(tenants.c.id).limit(limit)
        if after is not None:
            query = query.where(tenants.c.id > after)
        async with self._engine.connect() as connection:
            return [_tenant(row) for row in (await connection.execute(query)).mappings()]

    async def count(self) -> int:
        async with self._engine.connect() as connection:
            return int(await connection.scalar(sa.select(sa.func.count()).select_from(tenants)) or 0)

    async def policy(self, tenant_id: str) -> StoredPolicy:
        query = sa.select(tenants.c.policy, tenants.c.policy_revision).where(tenants.c.id == tenant_id)
        async with self._engine.connect() as connection:
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            raise NotFound(f"There is no tenant {tenant_id!r}.")
        policy, refused = Policy.stored(row.policy)
        return StoredPolicy(policy, row.policy_revision, refused)

    async def put_policy(
        self, tenant_id: str, policy: Policy, actor: str, expected_revision: int | None = None
    ) -> tuple[StoredPolicy, int]:
        """Replace the document; returns it with the change's position.

        Raises Conflict when somebody else wrote after `expected_revision`.
        """
        row = sa.update(tenants).where(tenants.c.id == tenant_id)
        if expected_revision is not None:
            row = row.where(tenants.c.policy_revision == expected_revision)
        document = policy.model_dump(mode="json")
        values: Mapping[str, Any] = {"policy": document, "policy_revision": tenants.c.policy_revision + 1}
        async with self._engine.begin() as connection:
            done = await connection.execute(row.values(**values))
            revision = await connection.scalar(
                sa.select(tenants.c.policy_revision).where(tenants.c.id == tenant_id)
            )
            if revision is None:
                raise NotFound(f"There is no tenant {tenant_id!r}.")
            if not done.rowcount:
                raise Conflict(f"The policy is at revision {revision}, not {expected_revision}.")
            await _store_learning(connection, tenant_id, policy)
            detail = {"revision": revision, "policy": document}
            await audit.record(connection, Act(actor, "policy.changed", tenant_id, tenant_id, detail))
            change = await changes.append(connection, tenant_id)
        return StoredPolicy(policy, revision), change


async def _store_learning(connection: AsyncConnection, tenant_id: str, policy: Policy) -> None:
    """Where the learner reads it."""
    document = asdict(replace(policy.learning.record(), screening=policy.screening.record()))
    mine = learning_policies.c.tenant_id == tenant_id
    done = await connection.execute(sa.update(learning_policies).where(mine).values(document=document))
    if not done.rowcount:
        await connection.execute(sa.insert(learning_policies).values(tenant_id=tenant_id, document=document))


def _tenant(row: sa.RowMapping) -> Tenant:
    return Tenant(row["id"], row["external_id"], row["name"], row["created_at"])
