"""Which replica should hold which versions. Pure: who wants what and what is held in, a plan out."""

import hashlib
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TypeVar

Replica = TypeVar("Replica")
HEAT_PER_COPY = 600.0
"""Heat that one replica serves; a hotter version gets another copy."""
STICKY = 2.0
"""A version that is held is moved only for one that is this much hotter."""


@dataclass(frozen=True)
class Wish:
    """A version that may be wanted in the engines."""

    version_id: str
    heat: float = 0.0
    """Requests lately."""
    must: bool = False
    """It is pinned, on its way to an alias, or requests wait for it: it is held whatever it displaces."""


@dataclass(frozen=True)
class Placing:
    """How versions are spread over the replicas of their base model. capacity: versions that each keeps in memory.
    copies: of a version, at least. heat: of a version, requests lately."""

    capacity: int
    copies: int
    heat: Callable[[str], float]

    def set_of(
        self, version_id: str, replaces: str | None, held: Mapping[str, Collection[str]]
    ) -> frozenset[str]:
        """URLs of the replicas that shall hold a version which takes over from another one; see `plan`."""
        heat = max(self.heat(each) for each in (version_id, replaces) if each is not None)
        planned = plan([Wish(version_id, heat, must=True)], held, self.capacity, self.copies)
        return frozenset(url for url, versions in planned.items() if version_id in versions)


def plan(
    wishes: Collection[Wish], held: Mapping[str, Collection[str]], capacity: int, copies: int
) -> Mapping[str, frozenset[str]]:
    """From each replica's URL to the versions that it should hold.

    held: what each replica that answers holds now. capacity: versions that a replica keeps in memory. copies: of each
    version, if there are so many replicas; hotter ones get more.

    What must be held goes first, then what is hot; among each, every version's first copy before anybody's second. No
    replica gets more than its capacity, unless what must be held is more than all have room for. A copy goes where
    one is already, else by rendezvous hashing, so that a replica that comes or goes moves only its own versions. What
    is held and finds no place in that order stays while there is room. What is not in the plan is cold: it is loaded
    when it is asked for.
    """
    chosen: dict[str, set[str]] = {url: set() for url in held}
    order = sorted(wishes, key=lambda wish: (not wish.must, *_coldness(wish, held), wish.version_id))
    wanted = {wish.version_id: min(len(held), max(copies, _copies(wish.heat))) for wish in order}
    turns = [(wish, number) for wish in order for number in range(wanted[wish.version_id])]
    for wish, _ in sorted(turns, key=lambda turn: (not turn[0].must, turn[1])):
        _put(wish, chosen, held, capacity)
    for wish in order:
        for url in held:
            if wish.version_id in held[url] and len(chosen[url]) < capacity:
                chosen[url].add(wish.version_id)
    return {url: frozenset(versions) for url, versions in chosen.items()}


def taking(
    replicas: Sequence[Replica],
    drained: Collection[str],
    url_of: Callable[[Replica], str] = attrgetter("url"),
) -> Sequence[Replica]:
    """Those that get new work: the drained ones only where there are no others. drained: URLs."""
    if not drained:
        return replicas
    return [replica for replica in replicas if url_of(replica) not in drained] or replicas


def weight(version_id: str, url: str) -> bytes:
    """Highest wins: a version stays on its replica when others come or go."""
    return hashlib.blake2b(f"{version_id}\n{url}".encode(), digest_size=8).digest()


def _put(
    wish: Wish, chosen: Mapping[str, set[str]], held: Mapping[str, Collection[str]], capacity: int
) -> None:
    """One more copy, where there is one already if that has room; the first of what must be held also where there is
    none."""
    free = [url for url in chosen if wish.version_id not in chosen[url]]
    first = wish.must and len(free) == len(chosen)
    room = [url for url in free if len(chosen[url]) < capacity] or (free if first else [])
    if room:
        best = max(room, key=lambda url: (wish.version_id in held[url], weight(wish.version_id, url)))
        chosen[best].add(wish.version_id)


def _coldness(wish: Wish, held: Mapping[str, Collection[str]]) -> tuple[float, bool]:
    """Least first; of equal ones those that are held, as all are while a control just started knows no heat."""
    there = any(wish.version_id in versions for versions in held.values())
    return -wish.heat * (STICKY if there else 1.0), not there


def _copies(heat: float) -> int:
    return math.ceil(heat / HEAT_PER_COPY)
