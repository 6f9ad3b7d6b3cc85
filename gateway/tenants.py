"""Tenants, their keys and their policies: the record behind what every worker holds in its snapshot.

Each write commits together with its audit entry and its row in the change log.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from adapters import audit, changes
from adapters.audit import Act
from adapters.database import older
from gateway.errors import Conflict, NotFound
from gateway.keys import ALL_SCOPES, Scope, digest_of, mint, public_id_of
from gateway.policy import NO_CAPS, Caps, Policy, Rollout
from gateway.protocol import new_id
from gateway.snapshot import PLATFORM
from gateway.tables import keys, tenants
from training.tables import learning_policies


@dataclass(frozen=True)
class Tenant:
    """`external_id` is the owner's own name for it, unique."""

    id: str
    external_id: str
    name: str
    created_at: datetime


@dataclass(frozen=True)
class KeyRecord:
    """A key without its secret."""

    id: str
    tenant_id: str | None
    public_id: str
    name: str
    scopes: Sequence[Scope]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    limits: Caps = NO_CAPS
    last_used_at: datetime | None = None


@dataclass(frozen=True)
class Issued:
    """A new key. `secret` is shown once. `change` is the position at which workers know the key."""

    key: KeyRecord
    secret: str
    change: int


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


class TenantStore:
    """All methods raise NotFound for what does not exist in that tenant."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def upsert(self, external_id: str, name: str, actor: str) -> tuple[Tenant, bool, int]:
        """The tenant of that external id, made or renamed; whether it was made; the change's position (0:
        none)."""
        try:
            async with self._engine.begin() as connection:
                return await self._create(connection, external_id, name, actor)
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

    async def _rename(self, external_id: str, name: str, actor: str) -> tuple[Tenant, bool, int]:
        tenant = await self.get(external_id)
        if tenant.name == name:
            return tenant, False, 0
        async with self._engine.begin() as connection:
            await connection.execute(sa.update(tenants).where(tenants.c.id == tenant.id).values(name=name))
            await audit.record(connection, Act(actor, "tenant.renamed", tenant.id, tenant.id, {"name": name}))
            change = await changes.append(connection, tenant.id)
        return Tenant(tenant.id, external_id, name, tenant.created_at), False, change

    async def get(self, reference: str) -> Tenant:
        """By id or by external id; an id wins."""
        named = sa.or_(tenants.c.id == reference, tenants.c.external_id == reference)
        async with self._engine.connect() as connection:
            rows = (await connection.execute(sa.select(tenants).where(named))).mappings().all()
        if not rows:
            raise NotFound(f"There is no tenant {reference!r}.")
        return _tenant(max(rows, key=lambda row: bool(row["id"] == reference)))

    async def list(self, *, after: str | None = None, limit: int = 50) -> Sequence[Tenant]:
        """One page, by id."""
        query = sa.select(tenants).order_by(tenants.c.id).limit(limit)
        if after is not None:
            query = query.where(tenants.c.id > after)
        async with self._engine.connect() as connection:
            return [_tenant(row) for row in (await connection.execute(query)).mappings()]

    async def count(self) -> int:
        async with self._engine.connect() as connection:
            return int(await connection.scalar(sa.select(sa.func.count()).select_from(tenants)) or 0)

    # -- keys

    async def create_key(
        self,
        tenant_id: str | None,
        name: str,
        scopes: Sequence[Scope],
        actor: str,
        expires_at: datetime | None = None,
        limits: Caps = NO_CAPS,
    ) -> Issued:
        """A new key; without a tenant, a platform key."""
        secret = mint().secret
        async with self._engine.begin() as connection:
            record, change = await _add_key(
                connection, secret, tenant_id, name, scopes, actor, expires_at, limits
            )
        return Issued(record, secret, change)

    async def keys_of(
        self, tenant_id: str | None, *, after: str | None = None, limit: int = 50
    ) -> Sequence[KeyRecord]:
        """One page, newest first, revoked ones too, following the key `after`."""
        made, name = keys.c.created_at, keys.c.id
        query = sa.select(keys).where(keys.c.tenant_id == tenant_id)
        query = query.order_by(made.desc(), name.desc()).limit(limit)
        if after is not None:
            last = await self._key_of(tenant_id, after)
            query = query.where(older(made, name, last.created_at, last.id))
        async with self._engine.connect() as connection:
            return [_key(row) for row in (await connection.execute(query)).mappings()]

    async def _key_of(self, tenant_id: str | None, key_id: str) -> KeyRecord:
        query = sa.select(keys).where(keys.c.tenant_id == tenant_id, keys.c.id == key_id)
        async with self._engine.connect() as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        if row is None:
            raise NotFound(f"There is no key {key_id!r}.")
        return _key(row)

    async def revoke_key(self, tenant_id: str | None, key_id: str, actor: str) -> int:
        """The change's position; revoking twice changes nothing and returns 0."""
        await self._key_of(tenant_id, key_id)
        mine = sa.and_(keys.c.id == key_id, keys.c.tenant_id == tenant_id)
        live = sa.update(keys).where(mine, keys.c.revoked_at.is_(None))
        async with self._engine.begin() as connection:
            done = await connection.execute(live.values(revoked_at=datetime.now(UTC)))
            if not done.rowcount:
                return 0
            await audit.record(connection, Act(actor, "key.revoked", key_id, tenant_id))
            return await changes.append(connection, tenant_id or PLATFORM)

    async def rotate_key(self, tenant_id: str | None, key_id: str, grace: timedelta, actor: str) -> Issued:
        """A successor with the same name and scopes; the old key works until the grace is over.

        Raises Conflict when the key is revoked, has expired or has a successor already, so that two
        rotations make one.
        """
        now = datetime.now(UTC)
        old = await self._key_of(tenant_id, key_id)
        still = sa.and_(keys.c.id == key_id, keys.c.revoked_at.is_(None), keys.c.rotated_at.is_(None))
        secret = mint().secret
        async with self._engine.begin() as connection:
            values = {"expires_at": now + grace, "rotated_at": now}
            done = await connection.execute(sa.update(keys).where(still).values(values))
            if not done.rowcount or (old.expires_at is not None and old.expires_at <= now):
                raise Conflict("The key is revoked, has expired, or has a successor already.")
            record, change = await _add_key(
                connection,
                secret,
                tenant_id,
                old.name,
                old.scopes,
                actor,
                old.expires_at,
                old.limits,
                replaces=key_id,
            )
        return Issued(record, secret, change)

    async def ensure_platform_key(self, secret: str) -> None:
        """The operator's own key, made by the supervisor: known to the record after every start."""
        async with self._engine.connect() as connection:
            known = sa.select(keys.c.id).where(keys.c.public_id == public_id_of(secret))
            if await connection.scalar(known) is not None:
                return
        async with self._engine.begin() as connection:
            await _add_key(connection, secret, None, "operator", sorted(ALL_SCOPES), "system", None)

    # -- policies

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


async def _add_key(
    connection: AsyncConnection,
    secret: str,
    tenant_id: str | None,
    name: str,
    scopes: Sequence[Scope],
    actor: str,
    expires_at: datetime | None,
    limits: Caps = NO_CAPS,
    replaces: str | None = None,
) -> tuple[KeyRecord, int]:
    record = KeyRecord(
        id=new_id("key_"),
        tenant_id=tenant_id,
        public_id=public_id_of(secret) or "",
        name=name,
        scopes=tuple(scopes),
        created_at=datetime.now(UTC),
        expires_at=expires_at,
        revoked_at=None,
        limits=limits,
    )
    stored = {"scopes": [scope.value for scope in scopes], "limits": limits.model_dump(exclude_none=True)}
    await connection.execute(
        sa.insert(keys).values(**{**asdict(record), **stored, "digest": digest_of(secret)})
    )
    detail = {"name": name, **stored, "replaces": replaces}
    await audit.record(connection, Act(actor, "key.created", record.id, tenant_id, detail))
    return record, await changes.append(connection, tenant_id or PLATFORM)


async def _store_learning(connection: AsyncConnection, tenant_id: str, policy: Policy) -> None:
    """Where the learner reads it."""
    document = asdict(policy.learning.record())
    mine = learning_policies.c.tenant_id == tenant_id
    done = await connection.execute(sa.update(learning_policies).where(mine).values(document=document))
    if not done.rowcount:
        await connection.execute(sa.insert(learning_policies).values(tenant_id=tenant_id, document=document))


def _tenant(row: sa.RowMapping) -> Tenant:
    return Tenant(row["id"], row["external_id"], row["name"], row["created_at"])


def _key(row: sa.RowMapping) -> KeyRecord:
    return KeyRecord(
        id=row["id"],
        tenant_id=row["tenant_id"],
        public_id=row["public_id"],
        name=row["name"],
        scopes=tuple(Scope(name) for name in row["scopes"] if name in set(Scope)),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        limits=Caps.model_validate(row["limits"]),
        last_used_at=row["last_used_at"],
    )
