"""Nearest vectors of one set, exact. Kept in memory, rebuilt from the database: losing it loses nothing."""

from collections.abc import Iterable
from typing import Any, Generic, TypeVar

import faiss
import numpy as np
from numpy.typing import NDArray

Item = TypeVar("Item")


class VectorIndex(Generic[Item]):
    """Items by key, found by inner product. A flat scan: exact, about a millisecond for a thousand vectors.

    Not safe for threads; used from the event loop, so a search never sees half a change.
    """

    def __init__(self, dimension: int) -> None:
        self._index: Any = faiss.IndexIDMap2(faiss.IndexFlatIP(dimension))
        self._rows: dict[str, int] = {}
        self._items: dict[int, Item] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self._rows)

    def put(self, key: str, vector: NDArray[np.float32], item: Item) -> None:
        """Add, or replace what has this key."""
        self.remove([key])
        row = self._next
        self._next += 1
        self._index.add_with_ids(np.ascontiguousarray(vector[None], np.float32), np.array([row], np.int64))
        self._rows[key], self._items[row] = row, item

    def remove(self, keys: Iterable[str]) -> None:
        rows = [self._rows.pop(key) for key in list(keys) if key in self._rows]
        for row in rows:
            del self._items[row]
        if rows:
            self._index.remove_ids(np.array(rows, np.int64))

    def items(self) -> list[Item]:
        return list(self._items.values())

    def search(self, vector: NDArray[np.float32], k: int) -> list[tuple[float, Item]]:
        """The k best (inner product, item), best first."""
        count = min(k, len(self._rows))
        if count <= 0:
            return []
        scores, rows = self._index.search(np.ascontiguousarray(vector[None], np.float32), count)
        return [
            (float(score), self._items[int(row)])
            for score, row in zip(scores[0], rows[0], strict=True)
            if row >= 0
        ]
