"""Snapshots from SQL: everything at the start, then only the tenants that a change names."""

import hashlib
import hmac
import logging
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from adapters import changes
from adapters.records import read_routes
from adapters.tables import versions
from adapters.types import AdapterRoutes
from gateway.keys import Key, scopes_from
from gateway.policy import NO_CAPS, Caps, Policy
from gateway.snapshot import PLATFORM, Snapshot, TenantView
from gateway.tables import keys, tenants
from training.tables import learned

log = logging.getLogger(__name__)

POLICIES = 4096
"""Different policies that are kept apart from the tenants that have them."""
_KEY = (
    keys.c.id.label("key_id"),
    keys.c.tenant_id,
    keys.c.public_id,
    keys.c.digest,
    keys.c.scopes,
    keys.c.expires_at,
    keys.c.limits,
)
_LIVE = keys.c.revoked_at.is_(None)
_TENANTS = sa.select(
    tenants.c.id,
    tenants.c.external_id,
    tenants.c.created_at,
    sa.cast(tenants.c.policy, sa.Text).label("policy"),
    *_KEY,
).select_from(tenants.outerjoin(keys, (keys.c.tenant_id == tenants.c.id) & _LIVE))
"""A row for each key, one for a tenant without any. The policy as text: nothing is parsed that is known already."""
_PLATFORM_KEYS = sa.select(*_KEY).where(keys.c.tenant_id.is_(None), _LIVE)


class SnapshotLoader:
    """secret: what the tenants' cache salts are derived from."""

    def __init__(self, engine: AsyncEngine, secret: str) -> None:
        self._engine = engine
        self._secret = secret.encode()

    async def load(self) -> Snapshot:
        """The whole record. The position is read first: a change made meanwhile is applied once more
        later."""
        async with self._engine.connect() as connection:
            return await self._whole(connection)

    async def follow(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with everything that changed since; the same object when nothing did, and the whole record anew
        when the change log no longer tells. What changed is read on one connection, because a swap waits for it."""
        async with self._engine.connect() as connection:
            position, changed = await changes.since(connection, snapshot.position)
            if position == snapshot.position:
                return snapshot
            if changed is None:
                return await self._whole(connection)
            views, found_keys = await self._read(connection, changed)
        return snapshot.with_changes(position, changed, views, found_keys)

    async def _whole(self, connection: AsyncConnection) -> Snapshot:
        position = await changes.latest(connection)
        views, found_keys = await self._read(connection, None)
        return Snapshot(
            position, {view.id: view for view in views}, {key.public_id: key for key in found_keys}
        )

    async def _read(
        self, connection: AsyncConnection, names: Collection[str] | None
    ) -> tuple[list[TenantView], list[Key]]:
        """names None: every tenant, and the platform's keys."""
        rows = await _rows(connection, _TENANTS, tenants.c.id, names)
        key_rows = [row for row in rows if row["key_id"]]
        if names is None or PLATFORM in names:
            key_rows += await _rows(connection, _PLATFORM_KEYS)
        knowledge = await _learned(connection, names)
        adapters: dict[str, dict[str, AdapterRoutes]] = defaultdict(dict)
        for route in await read_routes(connection, names):
            adapters[route.tenant_id][route.name] = route
        found = {row["id"]: row for row in rows}
        views = [self._view(row, adapters[name], knowledge.get(name, {})) for name, row in found.items()]
        return views, [_key(row) for row in key_rows]

    def _view(
        self,
        row: Mapping[str, Any],
        adapters: Mapping[str, AdapterRoutes],
        knowledge: Mapping[str, frozenset[str]],
    ) -> TenantView:
        salt = hmac.new(self._secret, row["id"].encode(), hashlib.sha256).hexdigest()
        return TenantView(
            id=row["id"],
            external_id=row["external_id"],
            policy=_policy(row),
            created_at=row["created_at"],
            cache_salt=salt,
            adapters=adapters,
            learned=knowledge,
        )


async def _rows(
    connection: AsyncConnection,
    query: sa.Select[Any],
    column: sa.Column[Any] | None = None,
    names: Collection[str] | None = None,
) -> Sequence[Mapping[str, Any]]:
    if column is not None and names is not None:
        query = query.where(column.in_(names))
    return [dict(row) for row in (await connection.execute(query)).mappings()]


async def _learned(
    connection: AsyncConnection, names: Collection[str] | None
) -> Mapping[str, Mapping[str, frozenset[str]]]:
    """Tenant id to version id to correction ids."""
    columns = versions.c.tenant_id, learned.c.version_id, learned.c.correction_id
    query = sa.select(*columns).join(versions, versions.c.id == learned.c.version_id)
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for row in await _rows(connection, query, versions.c.tenant_id, names):
        found[row["tenant_id"]][row["version_id"]].add(row["correction_id"])
    return {
        tenant: {version: frozenset(corrections) for version, corrections in by_version.items()}
        for tenant, by_version in found.items()
    }


def _policy(row: Mapping[str, Any]) -> Policy:
    """What this release refuses in a stored document must not take the tenant down: it has its default."""
    policy, refused = _parsed(row["policy"])
    for problem in refused:
        log.error("policy of %s: the default applies, %s", row["id"], problem)
    return policy


@lru_cache(maxsize=POLICIES)
def _parsed(document: str) -> tuple[Policy, Sequence[str]]:
    """Most tenants have one of a few policies: equal ones are one object, read once."""
    return Policy.stored(orjson.loads(document))


def _key(row: Mapping[str, Any]) -> Key:
    return Key(
        id=row["key_id"],
        tenant_id=row["tenant_id"],
        public_id=row["public_id"],
        digest=row["digest"],
        scopes=scopes_from(row["scopes"]),
        expires_at=row["expires_at"],
        limits=Caps.model_validate(row["limits"]) if row["limits"] else NO_CAPS,
    )
