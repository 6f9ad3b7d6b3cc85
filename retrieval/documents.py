"""A tenant's documents at work: files read, cut, encoded, stored, and their passages found."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.chunking import Chunk, chunk
from retrieval.encoder import BATCH, Encoder
from retrieval.errors import RequestRefused
from retrieval.extract import extract
from retrieval.index import VectorIndex
from retrieval.store import DocumentStore, PassageRow, default_store_id, new_id
from retrieval.types import Attachment, Passage

Index = VectorIndex[Passage]


class Documents:
    """Acknowledged means committed and findable. Indices are loaded from SQL on a vector store's first search."""

    def __init__(self, store: DocumentStore, encoder: Encoder, min_score: float) -> None:
        self.store = store
        self._encoder = encoder
        self._min_score = min_score
        self._indices: dict[tuple[str, str], Index] = {}
        self._loading: dict[tuple[str, str], asyncio.Lock] = {}

    async def attach(
        self, tenant_id: str, store_id: str, file_id: str, attributes: Mapping[str, Any]
    ) -> Attachment:
        """Make a file part of a vector store. A file that cannot be read is attached as `failed`, as OpenAI does."""
        await self.store.vector_store(tenant_id, store_id)
        file = await self.store.file(tenant_id, file_id)
        chunks, error = await self._chunks(file.filename, await self.store.content(tenant_id, file_id))
        vectors, digest = await self._encode(chunks), self._encoder.digest
        rows = [
            PassageRow(
                new_id("psg_"), tenant_id, store_id, file_id, ordinal, part.title, part.text, digest, vector
            )
            for ordinal, (part, vector) in enumerate(zip(chunks, vectors, strict=True))
        ]
        usage = sum(len(part.text.encode()) + self._encoder.dimension * 4 for part in chunks)
        status = "failed" if error else "completed"
        attachment = Attachment(
            store_id, file_id, tenant_id, status, error, dict(attributes), usage, datetime.now(UTC)
        )
        index = await self._index(tenant_id, store_id)
        await self.store.attach(attachment, rows)
        index.remove(_ids_of(index, file_id))
        for row in rows:
            index.put(row.id, row.vector, _passage(row))
        return attachment

    async def detach(self, tenant_id: str, store_id: str, file_id: str) -> None:
        await self.store.detach(tenant_id, store_id, file_id)
        self._forget(tenant_id, file_id, store_id)

    async def delete_file(self, tenant_id: str, file_id: str) -> None:
        await self.store.delete_file(tenant_id, file_id)
        self._forget(tenant_id, file_id)

    async def delete_vector_store(self, tenant_id: str, store_id: str) -> None:
        await self.store.delete_vector_store(tenant_id, store_id)
        self._indices.pop((tenant_id, store_id), None)

    async def delete_tenant(self, tenant_id: str) -> None:
        await self.store.delete_tenant(tenant_id)
        for key in [key for key in self._indices if key[0] == tenant_id]:
            del self._indices[key]

    async def has_passages(self, tenant_id: str) -> bool:
        """Whether the tenant's default vector store holds any."""
        return len(await self._index(tenant_id, default_store_id(tenant_id))) > 0

    async def search_default(self, tenant_id: str, vector: NDArray[np.float32], k: int) -> list[Passage]:
        """The k best passages of the tenant's default vector store."""
        return await self.search(tenant_id, default_store_id(tenant_id), vector, k)

    async def search(
        self, tenant_id: str, store_id: str, vector: NDArray[np.float32], k: int
    ) -> list[Passage]:
        """vector: the question's unit vector. Passages below the least score are left out."""
        index = await self._index(tenant_id, store_id)
        return [
            Passage(item.id, item.file_id, item.title, item.text, round(score, 4))
            for score, item in index.search(vector, k)
            if score >= self._min_score
        ]

    async def _chunks(self, filename: str, content: bytes) -> tuple[list[Chunk], str | None]:
        try:
            document = await asyncio.to_thread(extract, filename, content)
        except RequestRefused as error:
            return [], str(error)
        return await asyncio.to_thread(chunk, document.sections, document.title), None

    async def _encode(self, chunks: Sequence[Chunk]) -> Sequence[NDArray[np.float32]]:
        """In small batches, so that questions never wait for a whole document."""
        texts = [f"{part.title}. {part.text}" for part in chunks]
        vectors: list[NDArray[np.float32]] = []
        for start in range(0, len(texts), BATCH):
            vectors += list(await self._encoder.encode(texts[start : start + BATCH], bulk=True))
        return vectors

    async def _index(self, tenant_id: str, store_id: str) -> Index:
        key = (tenant_id, store_id)
        if key in self._indices:
            return self._indices[key]
        async with self._loading.setdefault(key, asyncio.Lock()):
            if key not in self._indices:
                self._indices[key] = await self._load(tenant_id, store_id)
            self._loading.pop(key, None)
        return self._indices[key]

    async def _load(self, tenant_id: str, store_id: str) -> Index:
        rows = await self.store.passages(tenant_id, store_id)
        stale = [row for row in rows if row.encoder != self._encoder.digest]
        if stale:
            vectors = await self._encode([Chunk(row.title, row.text) for row in stale])
            await self.store.replace_passages(
                [
                    PassageRow(**{**vars(row), "encoder": self._encoder.digest, "vector": vector})
                    for row, vector in zip(stale, vectors, strict=True)
                ]
            )
            rows = await self.store.passages(tenant_id, store_id)
        index = Index(self._encoder.dimension)
        for row in rows:
            index.put(row.id, row.vector, _passage(row))
        return index

    def _forget(self, tenant_id: str, file_id: str, store_id: str | None = None) -> None:
        for (owner, store), index in self._indices.items():
            if owner == tenant_id and store_id in (None, store):
                index.remove(_ids_of(index, file_id))


def _passage(row: PassageRow) -> Passage:
    return Passage(row.id, row.file_id, row.title, row.text, 0.0)


def _ids_of(index: Index, file_id: str) -> list[str]:
    return [passage.id for passage in index.items() if passage.file_id == file_id]
