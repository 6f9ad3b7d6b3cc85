"""API keys in the record; `gateway.keys` has what one looks like.

Each write commits together with its audit entry and its row in the change log.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from adapters import audit, changes
from adapters.audit import Act
from adapters.database import older
from gateway.errors import Conflict, NotFound
from gateway.keys import ALL_SCOPES, Scope, digest_of, mint, public_id_of
from gateway.policy import NO_CAPS, Caps
from gateway.protocol import new_id
from gateway.snapshot import PLATFORM
from gateway.tables import keys


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


class KeyStore:
    """tenant_id None: platform keys. All methods raise NotFound for what does not exist in that tenant."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

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
        """A successor with the same name and scopes; the old key works until the grace is over, never longer
        than it would have.

        Raises Conflict when the key is revoked, has expired or has a successor already, so that two
        rotations make one.
        """
        now = datetime.now(UTC)
        old = await self._key_of(tenant_id, key_id)
        still = sa.and_(keys.c.id == key_id, keys.c.revoked_at.is_(None), keys.c.rotated_at.is_(None))
        secret = mint().secret
        async with self._engine.begin() as connection:
            ends = now + grace if old.expires_at is None else min(now + grace, old.expires_at)
            values = {"expires_at": ends, "rotated_at": now}
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
