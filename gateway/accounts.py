"""One tenant's or one key's limits in this worker: which purses they are, and how they look to a client. Pure."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import InitVar, dataclass, field

from gateway.errors import InsufficientQuota, RateLimited
from gateway.policy import Caps
from gateway.quota import MINUTE_S, SLACK, Meter, Purse

REQUESTS, TOKENS, DAY, PLACES = "requests", "tokens", "tokens_per_day", "concurrency"
TOLD = (REQUESTS, TOKENS)
"""What clients read in `x-ratelimit-*`."""
DAY_S = 86_400
SOON_S = 0.25
"""When to come back where time alone brings nothing at a known rate."""
PLACE_S = 1.0
KEY = "graft:limit:{owner}:{meter}"

Amounts = Mapping[str, float]


@dataclass(eq=False, slots=True)
class Account:
    """day: since the epoch, UTC; a daily budget's purse is of one day."""

    owner: str
    caps: Caps
    day: int
    now: InitVar[float]
    purses: dict[str, Purse] = field(default_factory=dict)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while the ledger is asked."""
    running: int = 0
    unused: int = 0
    """Synchronisations since its last use."""
    untold: int = 0
    """Synchronisations in which it had too little to tell, since it told."""

    def __post_init__(self, now: float) -> None:
        self.follow(self.caps, self.day, now)

    def follow(self, caps: Caps, day: int, now: float) -> None:
        """Another policy, another day. Purses that stay keep what they hold."""
        self.caps, self.day = caps, day
        before = {purse.meter.key: purse for purse in self.purses.values()}
        self.purses = {}
        for meter in meters(self.owner, caps, day):
            purse = self.purses[meter.name] = before.get(meter.key) or Purse(meter, now)
            purse.change(meter)

    def covers(self, amounts: Amounts) -> bool:
        return all([purse.covers(amounts[name]) for name, purse in self.purses.items()])

    @property
    def idle(self) -> bool:
        return all(purse.idle for purse in self.purses.values())

    @property
    def silent(self) -> bool:
        return all(purse.silent for purse in self.purses.values())

    def refusal(self, purse: Purse, amount: float, now: float, wall: float) -> RateLimited:
        """In the words of the limit that is reached. wall: seconds since the epoch."""
        told, name = headers(self.purses.items(), now), purse.meter.name
        if name == DAY and purse.exhausted(amount):
            tomorrow = (self.day + 1) * DAY_S - wall
            return InsufficientQuota("Today's token budget is used up.", retry_after_s=tomorrow, limits=told)
        if name == DAY:
            message = "Requests in flight hold what is left of today's token budget."
            return RateLimited(message, retry_after_s=PLACE_S, limits=told)
        if name == PLACES:
            return RateLimited("Too many requests at once.", retry_after_s=PLACE_S, limits=told)
        message = f"Rate limit reached for {name} per minute."
        return RateLimited(message, retry_after_s=purse.wait_s(amount, now) or SOON_S, limits=told)


def headers(purses: Iterable[tuple[str, Purse]], now: float) -> dict[str, str]:
    """OpenAI's `x-ratelimit-*`, of whichever limit has least left: the tenant's or the key's."""
    least: dict[str, tuple[float, Purse]] = {}
    for name, purse in purses:
        if name in TOLD:
            left = purse.remaining(now)
            if name not in least or left < least[name][0]:
                least[name] = left, purse
    found: dict[str, str] = {}
    for name, (left, purse) in least.items():
        limit = purse.meter.limit
        found[f"x-ratelimit-limit-{name}"] = str(limit)
        found[f"x-ratelimit-remaining-{name}"] = str(max(0, int(left + SLACK)))
        found[f"x-ratelimit-reset-{name}"] = duration(purse.refill_s(limit, left))
    return found


def meters(owner: str, caps: Caps, day: int) -> Iterable[Meter]:
    """owner: a name that is never reused. day: since the epoch, UTC."""
    key = {name: KEY.format(owner=owner, meter=name) for name in (REQUESTS, TOKENS, DAY, PLACES)}
    if caps.requests_per_minute is not None:
        yield Meter(REQUESTS, key[REQUESTS], caps.requests_per_minute, MINUTE_S)
    if caps.tokens_per_minute is not None:
        yield Meter(TOKENS, key[TOKENS], caps.tokens_per_minute, MINUTE_S)
    if caps.tokens_per_day is not None:
        yield Meter(DAY, f"{key[DAY]}:{day}", caps.tokens_per_day)
    if caps.concurrency is not None:
        yield Meter(PLACES, key[PLACES], caps.concurrency)


def duration(seconds: float) -> str:
    """As OpenAI writes it: `6m0s`, `1.5s`, `20ms`."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    minutes, rest = divmod(seconds, MINUTE_S)
    return f"{int(minutes)}m{rest:.0f}s" if minutes else f"{rest:.3g}s"
