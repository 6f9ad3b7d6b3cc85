"""What one worker holds of a limit that all workers share. Pure arithmetic: nothing waits, nothing is sent.

A limit's account is in the ledger: what was spent, and what each worker holds. A worker's purse spends what it holds
without asking, and asks the ledger for more. What a window's limit has let through is forgotten evenly over a minute
(GCRA's rule); a budget's is forgotten with its day; a place is never spent, only held.
"""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

MINUTE_S = 60.0
SLACK = 1e-3
"""Of a request, a token or a place: clocks differ by microseconds, limits are whole numbers."""
STOCK_SHARE = 8
"""All workers' stocks together are at most this part of a limit,"""
STOCK_OF_REST = 4
"""and one stock at most this part of what is left when it is taken."""
NOTICED_SHARE = 8
"""What was spent is noticeable from this part of a stock on: a 64th of a limit, of one worker."""


@dataclass(frozen=True)
class Share:
    """One worker's part when nobody can be asked: all parts together are exactly the limit.

    live: workers. rank: this one among them, from 0.
    """

    live: int
    rank: int

    def of(self, limit: int) -> int:
        return limit // self.live + (self.rank < limit % self.live)


@dataclass(frozen=True, slots=True)
class Meter:
    """One limit of one tenant or key. `key`: the account's name in the ledger."""

    name: str
    key: str
    limit: int
    window_s: float = 0.0
    """In which what was spent is forgotten; 0: never."""
    rate: float = field(init=False)
    """Forgotten per second."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "rate", self.limit / self.window_s if self.window_s else 0.0)


class Ask(NamedTuple):
    """One worker's word to the ledger on one account."""

    meter: Meter
    spent: float
    """Since its last word; negative when it turned out to be less."""
    held: float
    """Altogether; what it held before and does not name here is given back."""
    short: float
    """Without so much more there is no use in anything."""
    want: float
    known: float
    """What it believes was spent by all: the start of an account that the ledger has lost."""


class Grant(NamedTuple):
    """granted: more to hold. spent: by all. rest: neither spent nor held by anybody."""

    granted: float
    spent: float
    rest: float


def granted(ask: Ask, rest: float) -> float:
    """The ledger's rule, which its Lua script repeats. rest: neither spent nor held, before the grant."""
    if rest + SLACK < ask.short:
        return 0.0
    stock = math.floor(max(0.0, rest - ask.short) / STOCK_OF_REST)
    return min(ask.want, ask.short + stock)


@dataclass
class Alone:
    """The account that a worker keeps by itself while it reaches no ledger: of its part of the limit."""

    part: int
    rate: float
    """Forgotten per second."""
    spent: float
    before: float
    """Of `spent`, what is not forgotten yet from before the worker was alone."""
    at: float

    def exchange(self, ask: Ask, now: float) -> float:
        """What is granted."""
        self.fade(now)
        self.spent = max(0.0, self.spent + ask.spent)
        return granted(ask, self.part - self.spent - ask.held)

    def owed(self, now: float) -> float:
        """What was spent alone and is not forgotten yet: the ledger does not know it."""
        self.fade(now)
        return self.spent - self.before

    def fade(self, now: float) -> None:
        faded = (now - self.at) * self.rate
        self.spent, self.before = max(0.0, self.spent - faded), max(0.0, self.before - faded)
        self.at = now


class Purse:
    """What a worker holds of one limit, and what it knows about the rest. Times: one monotonic clock, in seconds.

    Between an `ask` and its `apply` no other `ask` may happen.
    """

    __slots__ = (
        "_alone",
        "_at",
        "_known",
        "_others",
        "_reserved",
        "_rest",
        "_telling",
        "_told_held",
        "_untold",
        "free",
        "meter",
        "refused_at",
    )

    def __init__(self, meter: Meter, now: float) -> None:
        self.meter = meter
        self.free = 0.0
        """To be spent without asking; below zero when answers were longer than reserved."""
        self.refused_at = -math.inf
        self._reserved = 0.0
        self._untold = 0.0
        self._telling = 0.0
        self._known = 0.0
        self._rest = float(meter.limit)
        self._at = now
        self._told_held = 0.0
        self._others = 0.0
        self._alone: Alone | None = None

    # -- without asking

    def covers(self, amount: float) -> bool:
        """More than the whole limit is asked of a whole limit only."""
        free = self.free + SLACK
        return free >= amount or free >= self._needed(amount)

    def reserve(self, amount: float) -> None:
        """A window forgets from the start of a request on. Everything else stays held until its end, so that it
        comes back should the worker die."""
        self.free -= amount
        if self.meter.window_s:
            self._untold += amount
        else:
            self._reserved += amount

    def settle(self, reserved: float, actual: float) -> None:
        """The end of what `reserve(reserved)` began."""
        self.free += reserved - actual
        if self.meter.window_s:
            self._untold += actual - reserved
        else:
            self._reserved -= reserved
            self._untold += actual

    def change(self, meter: Meter) -> None:
        """The same account with another limit. Of a lower one nobody holds more than a stock."""
        if meter != self.meter:
            if meter.limit < self.meter.limit:
                self.free = min(self.free, float(meter.limit // STOCK_SHARE))
            self._rest += meter.limit - self.meter.limit
            self.meter, self.refused_at = meter, -math.inf

    @property
    def idle(self) -> bool:
        """Nothing is held and nothing is untold."""
        return not (self.free or self._reserved or self._untold or self._alone)

    @property
    def silent(self) -> bool:
        """There is nothing to tell and nothing to give back."""
        return not (self.free or self._untold or self._alone)

    def low(self, stock: int) -> bool:
        return self.free * 2 < stock

    def noticeable(self, stock: int) -> bool:
        """Whether the ledger should know soon what was spent. It counts it as held until then."""
        return self._alone is not None or abs(self._untold) * NOTICED_SHARE >= stock

    def surplus(self, stock: int) -> bool:
        return self.free > 2 * stock

    def remaining(self, now: float) -> float:
        """What this worker could let through, as far as it knows."""
        if self._alone is None:
            return self.free + self._rest + self._known - self._known_at(now)
        self._alone.fade(now)
        return self._alone.part - self._alone.spent - self._reserved - self._untold

    def lacks(self, amount: float, now: float) -> bool:
        """Whether asking would be in vain, as far as this worker knows."""
        return self.remaining(now) + SLACK < self._needed(amount)

    def elsewhere(self, amount: float, now: float) -> bool:
        """Whether other workers hold what is missing."""
        return self._alone is None and self.remaining(now) + self._others + SLACK >= self._needed(amount)

    def exhausted(self, amount: float) -> bool:
        """Whether so much is spent that the end of all that runs would make no room either."""
        whole, spent = self.meter.limit, self._known
        if self._alone is not None:
            whole, spent = self._alone.part, self._alone.spent
        return whole - spent - self._untold + SLACK < self._needed(amount)

    def wait_s(self, amount: float, now: float) -> float:
        """Until enough will have been forgotten; 0 when time alone brings nothing."""
        return self.refill_s(amount, self.remaining(now))

    def refill_s(self, amount: float, left: float) -> float:
        """The same, where `remaining` is known to be `left`."""
        rate = self._alone.rate if self._alone else self.meter.rate
        return max(0.0, self._needed(amount) - left) / rate if rate else 0.0

    # -- asking

    def ask(self, amount: float, stock: int, now: float) -> Ask:
        """A word to the ledger that would make `amount` and a stock free. A surplus is given up at once."""
        self._telling = self._untold
        owed = self._alone.owed(now) if self._alone else 0.0
        return self._word(amount, stock, self._telling + owed, self._known_at(now))

    def apply(self, grant: Grant, now: float) -> None:
        """The ledger's answer to the last `ask`."""
        self._untold -= self._telling
        self._alone = None
        self._known, self._rest, self._at = grant.spent, grant.rest, now
        self._others = self.meter.limit - grant.spent - grant.rest - self._told_held - grant.granted
        self.free += grant.granted

    def go_alone(self, amount: float, stock: int, share: Share, now: float) -> None:
        """The same as both, when no ledger answers."""
        part = share.of(self.meter.limit)
        if self._alone is None:
            held = self.free + self._reserved + self._untold
            rest = self._rest + self._known - self._known_at(now)
            spent = max(0.0, part - held - rest * part / self.meter.limit)
            self._alone = Alone(part, 0.0, spent, spent, now)
        self._alone.fade(now)
        self._alone.part, self._alone.rate = part, self.meter.rate * part / self.meter.limit
        untold, self._untold = self._untold, 0.0
        self.free += self._alone.exchange(self._word(amount, stock, untold, 0.0), now)

    def _word(self, amount: float, stock: int, spent: float, known: float) -> Ask:
        self.free = min(self.free, amount + 2 * stock)
        short = max(0.0, self._needed(amount) - self.free)
        want = max(short, amount + stock - self.free)
        self._told_held = self.free + self._reserved
        return Ask(self.meter, spent, self._told_held, short, want, known)

    def _needed(self, amount: float) -> float:
        whole = max(1, self._alone.part) if self._alone else self.meter.limit
        return min(amount, whole)

    def _known_at(self, now: float) -> float:
        return max(0.0, self._known - (now - self._at) * self.meter.rate)
