"""How often a report of two versions that do alike ever says that they do not, at any of many looks."""

import numpy as np

from adapters.rollout import Counts, Signal, StepCounts
from gateway.rollout_report import compared
from tests.bench.report import Figure

SHARES = (0.05, 0.5, 0.95)
RUNS = 400
BATCH = 250
"""Units of both arms between two looks."""
UNITS = 20_000
ALPHA = 0.05
SEED = 20261123


def erred(random: np.random.Generator, rates: dict[Signal, float], share: float) -> bool:
    """Whether a report says at any look that one version is worse, or better. share: the second version's."""
    arms = Counts(), Counts()
    for _ in range(UNITS // BATCH):
        moved = int(random.binomial(BATCH, share))
        arms = _more(random, arms[0], BATCH - moved, rates), _more(random, arms[1], moved, rates)
        if compared([StepCounts(share, *arms)], ALPHA)["verdict"] in ("worse", "better", "mixed"):
            return True
    return False


def _more(random: np.random.Generator, arm: Counts, units: int, rates: dict[Signal, float]) -> Counts:
    bad = {
        signal: arm.bad.get(signal, 0) + int(random.binomial(units, rate)) for signal, rate in rates.items()
    }
    return Counts(arm.units + units, bad)


def measured(rates: dict[Signal, float]) -> tuple[list[Figure], list[str]]:
    """The study's figures, and its part of the page. rates: of both versions."""
    random = np.random.default_rng(SEED)
    parts = {share: sum(erred(random, rates, share) for _ in range(RUNS)) / RUNS for share in SHARES}
    figures = [
        Figure(f"reports of versions alike that ever told them apart, share {share:.0%}", part, target=ALPHA)
        for share, part in parts.items()
    ]
    page = [
        "",
        "A whole report has an interval for each of the five signals. Both versions do as in the first",
        f"table; part of {RUNS} reports that said `worse`, `better` or `mixed` at one of {UNITS // BATCH}",
        f"looks, up to {UNITS:,} units:",
        "",
        "| share of the second version | erred |",
        "|---|---|",
        *(f"| {share:.0%} | {part:.3f} |" for share, part in parts.items()),
    ]
    return figures, page
