"""One replica's slots in one process: which versions may pass, and who waits. Nothing here waits or is sent."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from adapters.slot_table import Grants, Word


@dataclass
class Grant:
    """A version's slot on one replica, as held by this worker."""

    running: int = 0
    leaving: bool = False
    used: float = 0.0
    """When a request last entered."""


@dataclass(eq=False)
class Waiter:
    since: float
    ready: "asyncio.Future[Slot]"


class Slot:
    """One request's part of its version's slot. `release` may be called more than once."""

    def __init__(self, board: "Board | None" = None, version_id: str = "") -> None:
        self._board = board
        self._version_id = version_id

    def release(self) -> None:
        board, self._board = self._board, None
        if board is not None:
            board.left(self._version_id)


NO_SLOT = Slot()


@dataclass
class Board:
    """One replica in one worker. Nothing here waits. poke: asks the ledger soon."""

    url: str
    slots: int
    clock: Callable[[], float]
    poke: Callable[["Board"], None]
    keep: bool = True
    """Whether slots that nobody here uses are kept while nobody else wants them."""
    grants: dict[str, Grant] = field(default_factory=dict)
    lines: dict[str, dict[Waiter, None]] = field(default_factory=dict)
    released: set[str] = field(default_factory=set)
    """Given up, and not yet told."""
    short: int = 0
    """Versions that wait for a slot anywhere."""
    waiting: int = 0
    """Requests that wait here for a slot."""
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def enter(self, version_id: str) -> Slot | None:
        """None: it has to wait."""
        grant = self.grants.get(version_id)
        if grant is None or grant.leaving:
            return None
        grant.running += 1
        grant.used = self.clock()
        return Slot(self, version_id)

    def left(self, version_id: str) -> None:
        grant = self.grants[version_id]
        grant.running -= 1
        if not grant.running and (grant.leaving or self.short or self.lines or not self.keep):
            self.poke(self)

    def wait(self, version_id: str, waiter: Waiter) -> None:
        self.lines.setdefault(version_id, {})[waiter] = None
        self.poke(self)

    def give_up(self, version_id: str, waiter: Waiter) -> None:
        """Whoever waited has stopped waiting, perhaps just as the slot came."""
        line = self.lines.get(version_id, {})
        line.pop(waiter, None)
        if not line:
            self.lines.pop(version_id, None)
        if waiter.ready.done() and not waiter.ready.cancelled():
            waiter.ready.result().release()

    def word(self, now: float) -> Word:
        """What to tell the ledger. What it gives up takes no request from here on."""
        for version_id in self._given_up():
            del self.grants[version_id]
            self.released.add(version_id)
        wanted = {
            version_id: now - next(iter(line)).since
            for version_id, line in self.lines.items()
            if version_id not in self.grants
        }
        running = frozenset(name for name, grant in self.grants.items() if grant.running)
        return Word(frozenset(self.released), wanted, running)

    def _given_up(self) -> Sequence[str]:
        """Slots that nobody here uses go when somebody waits for one; else they are kept for the next request."""
        idle = [name for name, grant in self.grants.items() if not grant.running]
        if self.short or not self.keep:
            return idle
        wanted = sum(name not in self.grants for name in self.lines)
        over = len(self.grants) + wanted - self.slots
        oldest = sorted(idle, key=lambda name: (not self.grants[name].leaving, self.grants[name].used))
        leaving = sum(self.grants[name].leaving for name in idle)
        return oldest[: max(leaving, over)]

    def apply(self, told: Word, grants: Grants) -> None:
        """The ledger's answer to `told`."""
        self.released.difference_update(told.released)
        self.short = grants.short
        for version_id in grants.held:
            grant = self.grants.setdefault(version_id, Grant())
            grant.leaving = version_id in grants.leaving
        for version_id, grant in list(self.grants.items()):
            if version_id not in grants.held:
                grant.leaving = True
                if not grant.running:
                    del self.grants[version_id]
                elif version_id not in told.running:
                    self.wake.set()  # its request came meanwhile: it is yet to be told
        for version_id in [name for name in self.lines if name in self.grants]:
            self._admit(version_id)

    def _admit(self, version_id: str) -> None:
        """Everybody who waits for this version and has not left meanwhile, unless its slot is to be left."""
        if self.grants[version_id].leaving:
            return
        for waiter in self.lines.pop(version_id):
            slot = None if waiter.ready.done() else self.enter(version_id)
            if slot is not None:
                waiter.ready.set_result(slot)

    @property
    def contended(self) -> bool:
        return bool(self.lines or (self.short and self.grants))
