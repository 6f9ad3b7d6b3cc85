"""Rollouts and watches of versions that are no worse, over traffic whose requests are not independent: users come back,
sessions have several requests, and things go wrong more often for some users than for others.

A session's or user's arm is one hash for good, and each counts once: in a canary when something first goes wrong for
it, in a watch by its first request (`gateway.signals`). The decision code looks all the while.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from adapters.rollout import Action, Counts, Plan, Signal, StepCounts, bounds_from, decide, watch
from tests.bench.report import Figure

USERS = 400
SESSION = 3.0
"""Requests of a session in the mean; their number is geometric."""
OPEN = 50
"""Sessions that are under way at any time: their requests come mixed."""
UNEVEN = 5.0
"""How alike users are: each one's rate is drawn from a beta distribution of this concentration, so that the rates of
half of them are far from the mean."""
BATCH = 100
"""Requests between two looks."""
REQUESTS = 20_000
BEFORE = 1000
"""Requests that a watch's bounds are taken from, as `gateway.signals` reads them."""
RUNS = 400
SEED = 20261122
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Traffic:
    """Requests in the order in which they come. unit: whom each belongs to. fresh: whether it is the unit's first. bad:
    by signal, whether it is the first of the unit's that goes wrong."""

    unit: npt.NDArray[np.int64]
    fresh: Flags
    bad: dict[Signal, Flags]

    def of_firsts(self) -> "Traffic":
        """Only what goes wrong with a unit's first request."""
        return replace(self, bad={signal: bad & self.fresh for signal, bad in self.bad.items()})

    def counts(self, end: int, mine: Flags, start: int = 0) -> Counts:
        """Of the units in `mine` (a flag for each request), among so many requests."""
        there = mine[start:end]
        hits = {signal: int((bad[start:end] & there).sum()) for signal, bad in self.bad.items()}
        return Counts(int((self.fresh[start:end] & there).sum()), hits)


def first_of_each(unit: npt.NDArray[np.int64], among: Flags) -> Flags:
    """Of the requests in `among`, each unit's first."""
    places = np.flatnonzero(among)
    _, firsts = np.unique(unit[places], return_index=True)
    found = np.zeros(unit.size, dtype=bool)
    found[places[firsts]] = True
    return found


def traffic(
    random: np.random.Generator, rates: dict[Signal, float], requests: int, *, by_user: bool, even: bool
) -> Traffic:
    """by_user: the unit is the user, else the session. even: every request goes wrong as often as any other, and is a
    unit of its own."""
    if even:
        unit = np.arange(requests)
        user = np.zeros(requests, dtype=np.int64)
    else:
        places = random.integers(0, OPEN, requests)
        ended = random.random(requests) < 1 / SESSION
        session = np.empty(requests, dtype=np.int64)
        for place in range(OPEN):
            mine = places == place
            before = np.concatenate([[0], np.cumsum(ended[mine])[:-1]]) if mine.any() else []
            session[mine] = np.asarray(before, dtype=np.int64) * OPEN + place
        user = random.integers(0, USERS, int(session.max()) + 1)[session]
        unit = user if by_user else session
    bad = {}
    for signal, rate in rates.items():
        if even:
            wrong = random.random(requests) < rate
        else:
            own = random.beta(rate * UNEVEN, (1 - rate) * UNEVEN, USERS)
            wrong = random.random(requests) < own[user]
        bad[signal] = first_of_each(unit, wrong)
    return Traffic(unit, first_of_each(unit, np.ones(requests, dtype=bool)), bad)


def canary_ended(
    random: np.random.Generator, rates: dict[Signal, float], share: float, *, by_user: bool = False
) -> bool:
    """Whether a canary that stays at its share, and is no worse, is ended within all the requests."""
    plan = Plan(steps=(round(100 * share), 100), min_requests=10**9, max_step_seconds=math.inf)
    seen = traffic(random, rates, REQUESTS, by_user=by_user, even=False)
    mine = (random.random(int(seen.unit.max()) + 1) < share)[seen.unit]
    for end in range(BATCH, REQUESTS + 1, BATCH):
        step = StepCounts(share, seen.counts(end, ~mine), seen.counts(end, mine))
        if decide(plan, 0, [step], 0.0, math.inf).action is Action.ROLL_BACK:
            return True
    return False


def watch_ended(
    random: np.random.Generator, rates: dict[Signal, float], *, by_user: bool = False, even: bool = False
) -> bool:
    """Whether a version that took over, and does as what served before did, goes back within all the requests."""
    plan, everything = Plan(), np.ones(BEFORE + REQUESTS, dtype=bool)
    before = traffic(random, rates, BEFORE, by_user=by_user, even=even).of_firsts()
    bounds = bounds_from(before.counts(BEFORE, everything), plan.alpha)
    seen = traffic(random, rates, REQUESTS, by_user=by_user, even=even).of_firsts()
    for end in range(BATCH, REQUESTS + 1, BATCH):
        if watch(plan, seen.counts(end, everything), bounds, 0.0).action is Action.ROLL_BACK:
            return True
    return False


def measured(rates: dict[Signal, float], target: float) -> tuple[list[Figure], list[str]]:
    """The study's figures, and its part of the page. rates: of requests, of both versions alike."""
    random = np.random.default_rng(SEED)

    def part(ended: Callable[[], bool]) -> float:
        return sum(ended() for _ in range(RUNS)) / RUNS

    held = [
        Figure(
            "false aborts, a session's arm stays, share 25%", part(lambda: canary_ended(random, rates, 0.25))
        ),
        Figure(
            "false aborts, a user's arm stays, share 25%",
            part(lambda: canary_ended(random, rates, 0.25, by_user=True)),
        ),
        Figure("watches that went back, requests alike", part(lambda: watch_ended(random, rates, even=True))),
        Figure("watches that went back, sessions of unlike users", part(lambda: watch_ended(random, rates))),
        Figure(
            "watches that went back, sessions that never end",
            part(lambda: watch_ended(random, rates, by_user=True)),
        ),
    ]
    page = [
        "## Sticky sessions, unlike users, and the watch",
        "",
        f"{RUNS} rollouts a row, {REQUESTS:,} requests each, a decision every {BATCH}, all five signals; the versions",
        f"do alike. {USERS} users come back in sessions of {SESSION:g} requests in the mean, {OPEN} at a time. Each",
        f"user's rates are drawn from beta distributions of concentration {UNEVEN:g} around those above. A watch's",
        f"bounds come from {BEFORE:,} requests before it.",
        "",
        "| | ended |",
        "|---|---|",
        *(f"| {figure.name} | {figure.ours:.3f} |" for figure in held),
        "",
        "In the last row each user has one session for ever, with more requests in it during the watch than before. A",
        "session counts by its first request, in the watch as before it.",
        "",
    ]
    return [replace(figure, target=target) for figure in held], page
