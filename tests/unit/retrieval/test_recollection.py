"""Writes of one memory entry, with an encoder that takes its time."""

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
from sqlalchemy.ext.asyncio import AsyncEngine

from retrieval.database import open_engine
from retrieval.entries import EntryRow, EntryStore
from retrieval.lexicon import Vectors
from retrieval.memory import VIEWS, Background, Bar
from retrieval.recollection import Recollection
from retrieval.types import MemoryEntry

DIMENSION = 4
ENTRY = MemoryEntry("fb_1", "ten_1", "What is the warranty at Zorvia?", "2 years")


class SlowEncoder:
    digest, dimension = "sha256:slow", DIMENSION

    def __init__(self) -> None:
        self.asked, self.go = asyncio.Event(), asyncio.Event()

    def lexicon(self) -> Any:
        return None

    async def encode(self, texts: Sequence[str], *, bulk: bool = False) -> Vectors:
        self.asked.set()
        await self.go.wait()
        return np.tile(np.eye(1, DIMENSION, dtype=np.float32), (len(texts), 1))


class NotingStore(EntryStore):
    """Keeps the order in which it was asked."""

    def __init__(self, sql: AsyncEngine) -> None:
        super().__init__(sql)
        self.order: list[str] = []

    async def put(self, rows: Sequence[EntryRow]) -> None:
        self.order += [f"put {row.entry.id}" for row in rows]
        await super().put(rows)

    async def delete(self, tenant_id: str, entry_id: str) -> bool:
        self.order.append(f"delete {entry_id}")
        return await super().delete(tenant_id, entry_id)


async def test_a_deletion_that_comes_after_a_write_acts_after_it(sqlite_url: str) -> None:
    sql = open_engine(sqlite_url)
    encoder, background = SlowEncoder(), Background(np.ones((1, VIEWS, DIMENSION), np.float32))
    store = NotingStore(sql)
    memory = Recollection(store, encoder, background, Bar())
    writing = asyncio.create_task(memory.put(ENTRY))
    await encoder.asked.wait()
    deleting = asyncio.create_task(memory.delete("ten_1", "fb_1"))
    await memory.delete("ten_1", "fb_2")
    encoder.go.set()
    await writing
    assert await deleting
    assert store.order == ["delete fb_2", "put fb_1", "delete fb_1"]
    assert (await memory.size("ten_1"), await store.of("ten_1")) == (0, [])
    await sql.dispose()
