"""Versions that must stay in the engines although the record does not want them (yet): a swap on its way."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Set


class Holds:
    """By version id, how many need it. Of this process only."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._watches: list[set[str]] = []

    @contextlib.contextmanager
    def hold(self, version_id: str) -> Iterator[None]:
        self._counts[version_id] += 1
        for seen in self._watches:
            seen.add(version_id)
        try:
            yield
        finally:
            self._counts[version_id] -= 1
            if not self._counts[version_id]:
                del self._counts[version_id]

    @contextlib.contextmanager
    def seen(self) -> Iterator[Set[str]]:
        """All versions that are held at any moment from here on. Whoever let go of one since then may have made the
        record want it, after the record was read."""
        seen = set(self._counts)
        self._watches.append(seen)
        try:
            yield seen
        finally:
            self._watches.remove(seen)

    def __contains__(self, version_id: object) -> bool:
        return version_id in self._counts
