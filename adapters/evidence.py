"""Evidence that a candidate is worse, valid however often one looks. Pure.

While a rollout runs, each unit (a session, a user, or a request without either) goes to the candidate with a known
probability. If the candidate is no worse, then among the units where something went wrong it has no more than that
part, whatever the rate at which things go wrong and however that rate drifts. What it has beyond that part is measured
by a likelihood ratio, averaged over several relative risks: a test martingale, so that the chance of it ever passing
1/alpha is at most alpha (Ville's inequality). It conditions on the total as Lindon and Malek do in "Anytime-valid
inference for multinomial count data" (2022).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

RELATIVE_RISKS = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 50.0)
"""How much worse a candidate may be, equally likely beforehand."""
TIGHTEST_AT = 500.0
"""Sample at which the confidence sequence is tightest."""
MORE = 4
"""A small sample of something rare often has none of it, and then a variance that is far too small. With one, every
twelfth report of versions that were alike said in the end that they were not (docs/log.md)."""


@dataclass(frozen=True)
class Stratum:
    """Units among which the candidate's part is known. One step of a rollout is one stratum."""

    hits: int
    """Of the bad ones, the candidate's."""
    trials: int
    """The bad ones."""
    part: float
    """The candidate's part if it is no worse; between 0 and 1, neither included."""


def expected(part: float, risk: float) -> float:
    """The candidate's part of the bad ones when it is `risk` times as bad."""
    return part * risk / (part * risk + 1 - part)


def log_evidence(strata: Iterable[Stratum]) -> float:
    """Natural logarithm of the evidence that the candidate is worse; 0 is none, below 0 is against it."""
    known = [each for each in strata if each.trials]
    ratios = [sum(_log_ratio(each, risk) for each in known) for risk in RELATIVE_RISKS]
    highest = max(ratios)
    return highest + math.log(sum(math.exp(ratio - highest) for ratio in ratios) / len(ratios))


def _log_ratio(stratum: Stratum, risk: float) -> float:
    part, others = expected(stratum.part, risk), stratum.trials - stratum.hits
    return stratum.hits * math.log(part / stratum.part) + others * math.log((1 - part) / (1 - stratum.part))


@dataclass(frozen=True)
class Effect:
    """Difference of two rates, second minus first, with its interval."""

    difference: float
    low: float
    high: float


def effect(first: tuple[int, int], second: tuple[int, int], alpha: float) -> Effect | None:
    """The difference of two rates with an interval that holds at every look with probability 1 - alpha.

    first, second: hits and trials of independent samples. None where either sample is empty. The interval is the
    asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (2024), their equation 12, each
    variance taken as if `MORE` hits and as many misses had been seen too.
    """
    if not first[1] or not second[1]:
        return None
    difference = second[0] / second[1] - first[0] / first[1]
    variance = sum(_variance(*sample) for sample in (first, second))
    size = min(first[1], second[1])
    rho = _tightest(TIGHTEST_AT, alpha)
    growth = size * rho**2 + 1
    width = math.sqrt(variance * growth / (size * rho**2) * 2 * math.log(math.sqrt(growth) / alpha))
    return Effect(difference, max(-1.0, difference - width), min(1.0, difference + width))


def _variance(hits: int, trials: int) -> float:
    """Of a sample's rate."""
    rate = (hits + MORE) / (trials + 2 * MORE)
    return rate * (1 - rate) / trials


def _tightest(size: float, alpha: float) -> float:
    """The parameter that makes the sequence tightest at this sample (their equation 13)."""
    wanted = -2 * math.log(alpha)
    return math.sqrt((wanted + math.log(wanted + 1)) / size)


def upper_rate(hits: int, trials: int, alpha: float) -> float:
    """A bound that a rate lies below with probability 1 - alpha (Clopper and Pearson), from one look; 1.0 without
    trials."""
    low, high = hits / trials if trials else 1.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if _at_most(hits, trials, middle) > alpha else (low, middle)
    return high


def _at_most(hits: int, trials: int, rate: float) -> float:
    """Probability of no more than `hits` among `trials`."""
    if rate >= 1.0:
        return 1.0 if hits >= trials else 0.0
    if rate <= 0.0:
        return 1.0
    odds, none = math.log(rate) - math.log1p(-rate), trials * math.log1p(-rate)
    logs = (
        math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1) + k * odds + none
        for k in range(hits + 1)
    )
    return min(1.0, math.fsum(math.exp(log) for log in logs))
