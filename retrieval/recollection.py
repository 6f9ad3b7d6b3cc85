"""A tenant's memory at work: entries in SQL, their vectors in an index, a question answered or not."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakValueDictionary

import numpy as np

from retrieval.encoder import Encoder
from retrieval.entries import EntryRow, EntryStore
from retrieval.index import VectorIndex
from retrieval.lexicon import Vectors
from retrieval.memory import VIEWS, Asked, Background, Bar, Stored, background_readings, decide
from retrieval.reading import VIEWS_OF, Reading, read
from retrieval.types import MemoryEntry, MemoryHit

CANDIDATES = 32
"""How many of the best scoring entries are held against the rules."""
RECENT = 4096
"""Questions whose vectors are kept, over all tenants; about 5 KiB each."""


@dataclass
class _Held:
    """One tenant's loaded memory."""

    index: VectorIndex[Stored]
    writes: int = 0


class Recollection:
    """Writes are acknowledged after commit and index; a search after that finds them. Those of one entry act in the
    order in which they came, also where their sender is gone.

    Memory is loaded from SQL on a tenant's first use, and encoded anew where another encoder, or another reading, made
    the vectors.
    """

    def __init__(self, store: EntryStore, encoder: Encoder, background: Background, bar: Bar) -> None:
        self._store = store
        self._encoder = encoder
        self._lexicon = encoder.lexicon()
        self._made_by = f"{encoder.digest}/{VIEWS_OF}"
        self._background = background
        self._bar = bar
        self._held: dict[str, _Held] = {}
        self._recent: OrderedDict[tuple[str, str], Vectors] = OrderedDict()
        self._loading: dict[str, asyncio.Lock] = {}
        self._writing: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    def read(self, question: str) -> Reading:
        return read(question, self._lexicon)

    async def put(self, entry: MemoryEntry) -> None:
        async with self._turn(entry.tenant_id, entry.id):
            held = await self._of(entry.tenant_id)
            reading = self.read(entry.question)
            views = await self.views(entry.tenant_id, reading)
            await self._store.put([EntryRow(entry, self._made_by, views.reshape(-1))])
            self._hold(held, entry, self._background.ask(reading, views))

    async def delete(self, tenant_id: str, entry_id: str) -> bool:
        """Whether there was such an entry."""
        async with self._turn(tenant_id, entry_id):
            held = await self._of(tenant_id)
            deleted = await self._store.delete(tenant_id, entry_id)
            held.index.remove([entry_id])
            return deleted

    async def delete_tenant(self, tenant_id: str) -> None:
        await self._store.delete_tenant(tenant_id)
        self._held.pop(tenant_id, None)
        for key in [key for key in self._recent if key[0] == tenant_id]:
            del self._recent[key]

    async def size(self, tenant_id: str) -> int:
        return len((await self._of(tenant_id)).index)

    async def search(self, tenant_id: str, reading: Reading, views: Vectors) -> list[MemoryHit]:
        """views: the reading's unit vectors, shape (3, d)."""
        held = await self._of(tenant_id)
        if not len(held.index):
            return []
        question = self._background.ask(reading, views)
        candidates = [stored for _, stored in held.index.search(_query(question), CANDIDATES)]
        return decide(question, candidates, self._bar, len(held.index), self._lexicon)

    async def views(self, tenant_id: str, reading: Reading) -> Vectors:
        """Unit vectors of the reading's views, shape (3, d). What a tenant asked lately is not encoded again; only
        its own questions count, so that nobody can time what others ask."""
        key = (tenant_id, reading.text)
        if key not in self._recent:
            self._recent[key] = (await encode_views(self._encoder, [reading]))[0]
        self._recent.move_to_end(key)
        while len(self._recent) > RECENT:
            self._recent.popitem(last=False)
        return self._recent[key]

    def _turn(self, tenant_id: str, entry_id: str) -> asyncio.Lock:
        return self._writing.setdefault((tenant_id, entry_id), asyncio.Lock())

    async def _of(self, tenant_id: str) -> _Held:
        if tenant_id in self._held:
            return self._held[tenant_id]
        async with self._loading.setdefault(tenant_id, asyncio.Lock()):
            if tenant_id not in self._held:
                self._held[tenant_id] = await self._load(tenant_id)
            self._loading.pop(tenant_id, None)
        return self._held[tenant_id]

    async def _load(self, tenant_id: str) -> _Held:
        rows = await self._store.of(tenant_id)
        stale = [row for row in rows if row.encoder != self._made_by]
        if stale:
            readings = [self.read(row.entry.question) for row in stale]
            views = await encode_views(self._encoder, readings, bulk=True)
            renewed = [
                EntryRow(row.entry, self._made_by, own.reshape(-1))
                for row, own in zip(stale, views, strict=True)
            ]
            await self._store.put(renewed)
            rows = await self._store.of(tenant_id)
        held = _Held(VectorIndex(VIEWS * self._encoder.dimension + 1))
        for row in rows:
            question = self._background.ask(self.read(row.entry.question), row.vector.reshape(VIEWS, -1))
            self._hold(held, row.entry, question)
        return held

    def _hold(self, held: _Held, entry: MemoryEntry, question: Asked) -> None:
        held.writes += 1
        held.index.put(entry.id, _key(question), Stored(entry, question, held.writes))


async def encode_views(encoder: Encoder, readings: Sequence[Reading], *, bulk: bool = False) -> Vectors:
    """Unit vectors of the readings' views, shape (len(readings), 3, d)."""
    vectors = await encoder.encode([view for reading in readings for view in reading.views], bulk=bulk)
    return vectors.reshape(len(readings), VIEWS, encoder.dimension)


async def load_background(encoder: Encoder) -> Background:
    return Background(await encode_views(encoder, background_readings()))


def _key(stored: Asked) -> Vectors:
    """With `_query` as the other side, the inner product ranks entries as `memory.score` does."""
    return np.append(stored.vectors.reshape(-1) / VIEWS, np.float32(-stored.level / 2))


def _query(question: Asked) -> Vectors:
    return np.append(question.vectors.reshape(-1), np.float32(1.0))
