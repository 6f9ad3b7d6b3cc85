"""Memory entries in SQL: the record from which the memory index is rebuilt."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncEngine

from retrieval.database import put_row, to_bytes, to_vector
from retrieval.tables import memory_entries
from retrieval.types import MemoryEntry


@dataclass(frozen=True)
class EntryRow:
    """An entry with its views' vectors, flattened, and what made them: an encoder's digest and a
    reading's number."""

    entry: MemoryEntry
    encoder: str
    vector: NDArray[np.float32]


class EntryStore:
    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def put(self, rows: Sequence[EntryRow]) -> None:
        """Add or replace; committed when this returns."""
        async with self._engine.begin() as connection:
            for row in rows:
                values = {
                    "question": row.entry.question,
                    "answer": row.entry.answer,
                    "encoder": row.encoder,
                    "vector": to_bytes(row.vector),
                    "updated_at": datetime.now(UTC),
                }
                key = {"tenant_id": row.entry.tenant_id, "id": row.entry.id}
                await put_row(connection, memory_entries, key, values)

    async def delete(self, tenant_id: str, entry_id: str) -> bool:
        """Whether there was one."""
        async with self._engine.begin() as connection:
            result = await connection.execute(
                sa.delete(memory_entries).filter_by(tenant_id=tenant_id, id=entry_id)
            )
        return result.rowcount > 0

    async def delete_tenant(self, tenant_id: str) -> None:
        async with self._engine.begin() as connection:
            await connection.execute(sa.delete(memory_entries).filter_by(tenant_id=tenant_id))

    async def of(self, tenant_id: str) -> list[EntryRow]:
        """A tenant's entries, oldest first."""
        query = (
            sa.select(memory_entries)
            .filter_by(tenant_id=tenant_id)
            .order_by(memory_entries.c.updated_at, memory_entries.c.id)
        )
        async with self._engine.connect() as connection:
            found = (await connection.execute(query)).all()
        return [
            EntryRow(
                MemoryEntry(row.id, row.tenant_id, row.question, row.answer),
                row.encoder,
                to_vector(row.vector),
            )
            for row in found
        ]
