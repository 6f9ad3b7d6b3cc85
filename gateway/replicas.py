"""Which engine replica a request goes to. Pure arithmetic: of the replicas that hold its version, the first by
rendezvous hashing that has not much more to do than the others, around open breakers."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from adapters.placement import taking, weight
from adapters.types import BASE_NAME

FAILURES_TO_OPEN = 3
OPEN_S = 2.0
BOUND = 1.25
"""A replica takes at most so many times the mean number of running requests (Mirrokni, Thorup and Zadimoghaddam,
"Consistent hashing with bounded loads", 2018)."""


@dataclass
class Replica:
    """One engine process as this worker knows it."""

    url: str
    failures: int = 0
    """In a row."""
    open: bool = False
    """Whether its breaker is."""
    try_at: float = 0.0
    """Monotonic time from which one request may try a replica whose breaker is open."""
    trying: bool = False
    """Whether one does. What others say, who were there before, closes no breaker."""
    running: int = 0
    """Requests from here."""


class Replicas:
    """The engines, their breakers and what runs on each from here. pools: URLs by the name of the base model that they
    hold. resident: URLs of the replicas that hold a version, as far as is known. drained: URLs of those that get no
    new requests while others of their base model answer."""

    def __init__(
        self,
        pools: Mapping[str, Sequence[str]],
        clock: Callable[[], float] = time.monotonic,
        resident: Callable[[str], Collection[str]] = lambda _: (),
        drained: Callable[[], Collection[str]] = lambda: (),
    ) -> None:
        self._pools = {base: [Replica(url) for url in urls] for base, urls in pools.items()}
        self._clock = clock
        self._resident = resident
        self._drained = drained

    def pick(self, base: str, engine_model: str, tried: Collection[str] = ()) -> Replica | None:
        """Of the base model's replicas, the one that this version prefers among those not tried yet; None when all
        were tried.

        A drained one is taken when no other is left. One with an open breaker is tried by one request now and then,
        and taken by others only when none else is left: an error from it is no worse than none.
        """
        untried, now = self.untried(base, tried), self._clock()
        candidates = [replica for replica in untried if not replica.open or replica.try_at <= now] or untried
        candidates = taking(candidates, self._drained())
        if not candidates:
            return None
        chosen = self._of(candidates, engine_model) if len(candidates) > 1 else candidates[0]
        if chosen.open:
            chosen.trying, chosen.try_at = True, now + OPEN_S
        return chosen

    def untried(self, base: str, tried: Collection[str]) -> Sequence[Replica]:
        pool = self._pools[base]
        return [replica for replica in pool if replica.url not in tried] if tried else pool

    def _of(self, candidates: Sequence[Replica], engine_model: str) -> Replica:
        if engine_model == BASE_NAME:
            return min(candidates, key=lambda replica: replica.running)
        at = self._resident(engine_model)
        holding = [replica for replica in candidates if replica.url in at]
        return _least_bound(engine_model, holding) if holding else _favourite(engine_model, candidates)

    def answered(self, replica: Replica) -> None:
        """It takes requests; a stream that began may break off yet, and is one more failure then."""
        replica.open = replica.open and not replica.trying

    def succeeded(self, replica: Replica) -> None:
        self.answered(replica)
        replica.failures = 0

    def failed(self, replica: Replica) -> None:
        replica.failures += 1
        replica.trying = False
        if replica.failures >= FAILURES_TO_OPEN:
            replica.open, replica.try_at = True, self._clock() + OPEN_S

    @property
    def with_others(self) -> Sequence[Replica]:
        """Those whose requests could go to another one."""
        return [replica for pool in self._pools.values() if len(pool) > 1 for replica in pool]

    @property
    def running(self) -> Mapping[str, int]:
        """Requests from here by URL."""
        return {replica.url: replica.running for pool in self._pools.values() for replica in pool}

    @property
    def urls(self) -> Sequence[str]:
        return [replica.url for pool in self._pools.values() for replica in pool]


def _least_bound(engine_model: str, replicas: Sequence[Replica]) -> Replica:
    """The version's favourite among those within the bound; the mean itself is within it."""
    bound = BOUND * (sum(replica.running for replica in replicas) + 1) / len(replicas)
    return _favourite(engine_model, [replica for replica in replicas if replica.running < bound])


def _favourite(engine_model: str, replicas: Sequence[Replica]) -> Replica:
    return max(replicas, key=lambda replica: weight(engine_model, replica.url))
