"""Limits and slots over many workers without a Redis: ledgers in memory, a clock that is set by hand."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from adapters.slots import Slots
from adapters.testing import MemorySlots
from gateway.admission import Admissions
from gateway.limits import Limiter
from gateway.quota import Ask, Grant, Share, granted
from gateway.turns import Turns


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Book:
    """One account."""

    spent: float
    at: float
    held: dict[str, float] = field(default_factory=dict)


@dataclass
class MemoryLedger:
    """Does what the Lua script does."""

    clock: Clock
    books: dict[str, Book] = field(default_factory=dict)
    live: set[str] = field(default_factory=set)
    away: bool = False
    calls: int = 0

    def settle(self, me: str, ask: Ask) -> Grant:
        book = self.books.setdefault(ask.meter.key, Book(ask.known, self.clock.now))
        faded = max(0.0, self.clock.now - book.at) * ask.meter.rate
        book.spent = max(0.0, max(0.0, book.spent - faded) + ask.spent)
        book.at = self.clock.now
        others = sum(held for name, held in book.held.items() if name != me and name in self.live)
        rest = ask.meter.limit - book.spent - others - ask.held
        more = granted(ask, rest)
        book.held[me] = ask.held + more
        return Grant(more, book.spent, rest - more)


@dataclass
class Line:
    """One worker's way to the ledger."""

    ledger: MemoryLedger
    worker: str

    async def exchange(self, asks: Sequence[Ask]) -> Sequence[Grant]:
        if self.ledger.away:
            raise ConnectionError("away")
        self.ledger.calls += 1
        return [self.ledger.settle(self.worker, ask) for ask in asks]

    async def reachable(self) -> bool:
        return not self.ledger.away


def workers(ledger: MemoryLedger, count: int) -> list[Limiter]:
    ledger.live = {f"w_{number}" for number in range(count)}
    return [
        Limiter(
            Line(ledger, f"w_{number}"), lambda rank=number: Share(count, rank), ledger.clock, ledger.clock
        )
        for number in range(count)
    ]


def admissions(places: int = 1000) -> Admissions:
    """One worker that nobody shares with."""
    return Admissions(workers(MemoryLedger(Clock()), 1)[0], {"base": Turns(lambda: places, 1000, 30.0)})


def slots(urls: Sequence[str], count: int = 4) -> Slots:
    """Of one worker that nobody shares with."""
    return Slots(MemorySlots({}, count), urls, count, lambda: count, 1000, 5.0)
