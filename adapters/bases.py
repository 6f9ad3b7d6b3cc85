"""The base models that engines of ours hold, by the names that tenants use for them.

A name is configuration and may change hands; an adapter is bound to a digest. The record says which digest each name
stands for now, so that workers know an adapter's replicas without reading any weights.
"""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters import audit, changes, tables
from adapters.audit import Act
from adapters.base import BaseModel
from adapters.database import hold
from adapters.errors import BadBaseModel, BaseNotServed, UnknownBase

ACTOR = "system:bases"


class Bases:
    """found: by name. Raises BadBaseModel when two names stand for one model."""

    def __init__(self, engine: AsyncEngine, found: Mapping[str, BaseModel]) -> None:
        self._engine = engine
        self._found = found
        self._names: dict[str, str] = {}
        for name, base in found.items():
            if base.digest in self._names:
                raise BadBaseModel(base.path, f"{self._names[base.digest]!r} and {name!r} are the same model")
            self._names[base.digest] = name

    def named(self, name: str) -> BaseModel:
        """Raises UnknownBase."""
        if name not in self._found:
            raise UnknownBase(name)
        return self._found[name]

    def of(self, digest: str) -> BaseModel:
        """Raises BaseNotServed."""
        found = self.get(digest)
        if found is None:
            raise BaseNotServed(digest)
        return found

    def get(self, digest: str) -> BaseModel | None:
        """None for a base model that no engine of ours holds."""
        name = self._names.get(digest)
        return None if name is None else self._found[name]

    def name_of(self, digest: str) -> str | None:
        return self._names.get(digest)

    @property
    def all(self) -> Mapping[str, BaseModel]:
        """By name."""
        return self._found

    async def publish(self) -> None:
        """Make the record say what the names stand for; workers read again the tenants that a change concerns."""
        table = tables.bases
        now = {name: digest for digest, name in self._names.items()}
        async with self._engine.connect() as connection:
            if _by_name(await connection.execute(sa.select(table))) == now:
                return
        async with self._engine.begin() as connection:
            await hold(connection, "bases")
            before = _by_name(await connection.execute(sa.delete(table).returning(table)))
            named = [{"name": name, "digest": digest} for name, digest in now.items()]
            await connection.execute(sa.insert(table), named)
            for name in sorted({name for name, _ in before.items() ^ now.items()}):
                told = {"from": before.get(name), "to": now.get(name)}
                await audit.record(connection, Act(ACTOR, "base.named", name, None, told))
            changed = {digest for _, digest in before.items() ^ now.items()}
            adapters = tables.adapters.c
            concerned = sa.select(adapters.tenant_id).where(adapters.base_digest.in_(changed)).distinct()
            for tenant_id in (await connection.execute(concerned)).scalars().all():
                await changes.append(connection, tenant_id)


def _by_name(rows: sa.CursorResult[Any]) -> dict[str, str]:
    """Digests."""
    return {row.name: row.digest for row in rows}
