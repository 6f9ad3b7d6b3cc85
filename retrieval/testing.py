"""What tests use in place of the real parts. Not for production."""

import hashlib
from collections.abc import Sequence

from retrieval.errors import RetrievalUnavailable
from retrieval.types import Embedded, Found, MemoryEntry, MemoryHit, Passage


class FakeRetrieval:
    """RetrievalClient's search and memory without a process: exact questions match, nothing else does."""

    def __init__(self, passages: Sequence[Passage] = ()) -> None:
        self.passages = tuple(passages)
        self.entries: dict[tuple[str, str], MemoryEntry] = {}
        self.available = True

    async def search(
        self, tenant_id: str, question: str, *, k: int = 4, memory: bool = True, timeout_s: float = 1.0
    ) -> Found:
        self._check()
        hits = tuple(
            MemoryHit(entry.id, entry.question, entry.answer, 1.0)
            for (owner, _), entry in self.entries.items()
            if memory and owner == tenant_id and entry.question.casefold() == question.casefold()
        )
        return Found(self.passages[:k], hits[:1])

    async def put_memory(self, entry: MemoryEntry, *, timeout_s: float = 10.0) -> None:
        self._check()
        self.entries[entry.tenant_id, entry.id] = entry

    async def delete_memory(self, tenant_id: str, entry_id: str, *, timeout_s: float = 10.0) -> bool:
        self._check()
        return self.entries.pop((tenant_id, entry_id), None) is not None

    async def delete_tenant(self, tenant_id: str, *, timeout_s: float = 60.0) -> None:
        self._check()
        self.entries = {key: entry for key, entry in self.entries.items() if key[0] != tenant_id}

    async def embed(self, texts: Sequence[str], *, timeout_s: float = 60.0) -> Embedded:
        """Equal texts get equal vectors, others unrelated ones. A word is a token."""
        self._check()
        vectors = [_unit(hashlib.sha256(text.casefold().encode()).digest()) for text in texts]
        return Embedded(vectors, sum(len(text.split()) for text in texts))

    async def healthy(self, *, timeout_s: float = 1.0) -> bool:
        return self.available

    async def close(self) -> None:
        pass

    def _check(self) -> None:
        if not self.available:
            raise RetrievalUnavailable("the fake was told to be unavailable")


def _unit(digest: bytes) -> list[float]:
    raw = [byte - 127.5 for byte in digest]
    length = sum(value * value for value in raw) ** 0.5
    return [value / length for value in raw]
