"""Which engine replica a request goes to. Pure arithmetic: rendezvous hashing by version, around open
breakers."""

import hashlib
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

FAILURES_TO_OPEN = 3
OPEN_S = 2.0


@dataclass
class Replica:
    """One engine process as this worker knows it."""

    url: str
    failures: int = 0
    """In a row."""
    closed_at: float = 0.0
    """Monotonic time from which the breaker lets requests through again."""
    running: int = 0


class Replicas:
    """The engines, their breakers and what runs on each from here."""

    def __init__(self, urls: Sequence[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._replicas = [Replica(url) for url in urls]
        self._clock = clock

    def pick(self, engine_model: str, tried: Collection[str] = ()) -> Replica | None:
        """The replica that this version prefers among those not tried yet; None when all were tried.

        One with an open breaker is taken only when no other is left: an error from it is no worse than none.
        """
        untried = [replica for replica in self._replicas if replica.url not in tried]
        now = self._clock()
        closed = [replica for replica in untried if replica.closed_at <= now]
        candidates = closed or untried
        if len(candidates) <= 1:
            return candidates[0] if candidates else None
        return max(candidates, key=lambda replica: _weight(engine_model, replica.url))

    def succeeded(self, replica: Replica) -> None:
        replica.failures = 0

    def failed(self, replica: Replica) -> None:
        replica.failures += 1
        if replica.failures >= FAILURES_TO_OPEN:
            replica.closed_at = self._clock() + OPEN_S

    @property
    def urls(self) -> Sequence[str]:
        return [replica.url for replica in self._replicas]


def _weight(engine_model: str, url: str) -> bytes:
    """Highest wins: a version stays on its replica when others come or go."""
    return hashlib.blake2b(f"{engine_model}\n{url}".encode(), digest_size=8).digest()
