"""Which adapters may be asked of one engine at once. The rule, pure; `adapters.slot_ledger` repeats it in Redis.

An engine batches at most so many adapters as it has slots; what is asked of it beyond that waits inside it without
any order. So a slot is granted to a version on a replica, and every worker may send that version's requests there
while it holds the grant. When more versions are wanted than there are slots, the one whose oldest request has waited
longest is next, and the versions that have had a slot for longest make room: they take no new requests, and give
the slot back when those that run have ended. So do those that are held beyond the slots, where these became fewer.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

TENURE_S = 0.1
"""How long a version keeps its slot although others wait: what arrives meanwhile shares the batch."""


@dataclass(frozen=True)
class Word:
    """One worker's word on one replica. `wanted` is all that it waits for; `released` is given back; `running` has
    requests, whether or not the ledger knows: one that was started anew, or that took the worker for dead, does not."""

    released: Collection[str] = ()
    wanted: Mapping[str, float] = field(default_factory=dict)
    """Version to the seconds that its oldest request has waited."""
    running: Collection[str] = ()


@dataclass(frozen=True)
class Grants:
    """What one worker holds on a replica, and what of it shall take no more requests."""

    held: frozenset[str]
    leaving: frozenset[str]
    short: int
    """Versions, over all workers, that wait for a slot."""
    others: bool = False
    """Whether something changed for another worker, which should ask."""


Entries = dict[str, dict[str, float]]
"""Version to worker to a moment: since when it is held, or waited for."""


@dataclass
class SlotTable:
    """One replica's slots over all workers. Moments: any one clock, in seconds."""

    slots: int
    held: Entries = field(default_factory=dict)
    waiting: Entries = field(default_factory=dict)
    tenure_s: float = TENURE_S

    def exchange(self, worker: str, word: Word, now: float, live: Collection[str]) -> Grants:
        """Take the worker's word, grant what is free to whoever waits longest, and answer."""
        for entries in (self.held, self.waiting):
            _forget(entries, lambda _, who: who not in live)
        _forget(self.held, lambda version, who: who == worker and version in word.released)
        for version in word.running:
            self.held.setdefault(version, {}).setdefault(worker, now)
        before = {version for version, who in self.waiting.items() if worker in who}
        _forget(self.waiting, lambda _, who: who == worker)
        for version, waited in word.wanted.items():
            self.waiting.setdefault(version, {})[worker] = now - waited
        line = _by_age({name: who for name, who in self.waiting.items() if name not in self.held})
        free, over = max(0, self.slots - len(self.held)), max(0, len(self.held) - self.slots)
        short = max(0, len(line) - free)
        tenured = {name: who for name, who in self.held.items() if now - min(who.values()) >= self.tenure_s}
        leaving = frozenset(_by_age(tenured)[: short + over])
        others = short > 0 and bool(word.wanted.keys() - before) and _anyone_but(worker, self.held)
        for version in line[:free]:
            others |= self._grant(version, worker, now)
        for version in [name for name in self.waiting if name in self.held and name not in leaving]:
            others |= self._grant(version, worker, now)
        mine = frozenset(version for version, who in self.held.items() if worker in who)
        return Grants(mine, leaving & mine, short, others)

    def _grant(self, version: str, worker: str, now: float) -> bool:
        """To every worker that waits for it; whether one of them is another."""
        workers = self.waiting.pop(version)
        holders = self.held.setdefault(version, {})
        for name in workers:
            holders.setdefault(name, now)
        return any(name != worker for name in workers)


def _by_age(entries: Mapping[str, Mapping[str, float]]) -> Sequence[str]:
    """Oldest first; equally old ones by name, so that everybody finds the same order."""
    return sorted(entries, key=lambda version: (min(entries[version].values()), version))


def _anyone_but(worker: str, entries: Entries) -> bool:
    return any(name != worker for who in entries.values() for name in who)


def _forget(entries: Entries, stale: Callable[[str, str], bool]) -> None:
    """Drop those for which `stale(version, worker)`."""
    for version, who in list(entries.items()):
        kept = {worker: at for worker, at in who.items() if not stale(version, worker)}
        if kept:
            entries[version] = kept
        else:
            del entries[version]
