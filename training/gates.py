"""Whether a candidate may go live. Pure: paired answers in, three verdicts and their numbers out.

Every check compares the candidate with production on the same prompts. Exact tests only: the sets are small,
and a bootstrap of zero flips has no width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from math import comb
from typing import Any

from training.types import GatePolicy, Verdict


@dataclass(frozen=True)
class Pair:
    """Whether production and the candidate were right about the same thing."""

    before: bool
    after: bool


@dataclass(frozen=True)
class Evidence:
    """Everything the gate judges."""

    facts: Sequence[Pair]
    """One vote per fact that has held-out phrasings: are they all right, memory off?"""
    guarded: dict[str, Sequence[Pair]]
    """By name, the sets that must not get worse: base probes, earlier corrections, unknowns. Memory off."""
    with_memory: Sequence[Pair]
    """Corrected questions, memory on, each side skipping only what it has learned."""
    length_before: float
    length_after: float
    """Mean answer length over the guarded sets, in tokens."""


@dataclass(frozen=True)
class Check:
    """One bar: what it found, and a sentence for the person who reads the report."""

    name: str
    verdict: Verdict
    says: str
    numbers: dict[str, Any] = field(default_factory=dict)


def judge(evidence: Evidence, policy: GatePolicy) -> tuple[Verdict, list[Check]]:
    """The worst verdict of all checks: one failure fails, one doubt goes to a person."""
    checks = [
        _improvement(evidence.facts, policy),
        _regression([pair for pairs in evidence.guarded.values() for pair in pairs], policy),
        *(_harm(name, pairs, policy) for name, pairs in evidence.guarded.items()),
        _memory(evidence.with_memory, policy),
        _length(evidence, policy),
    ]
    verdicts = {check.verdict for check in checks}
    for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE):
        if verdict in verdicts:
            return verdict, checks
    return Verdict.PASS, checks


def mcnemar(wins: int, losses: int) -> float:
    """Exact one-sided p-value that wins outnumber losses by chance alone (McNemar 1947, binomial form)."""
    trials = wins + losses
    return float(sum(comb(trials, k) for k in range(wins, trials + 1)) / 2**trials)


def fewest_changes(significance: float) -> int:
    """Changed facts below which no improvement can be shown: 5 at p < 0.05 (5 fixed and none broken: p = .031)."""
    return next(n for n in count(1) if mcnemar(n, 0) < significance)


def upper_bound(hits: int, trials: int, confidence: float) -> float:
    """One-sided upper confidence bound of a share (Clopper and Pearson 1934)."""
    return 1.0 if hits >= trials else _share_where(hits, trials, 1 - confidence)


def lower_bound(hits: int, trials: int, confidence: float) -> float:
    """One-sided lower confidence bound of a share."""
    return 0.0 if hits <= 0 else _share_where(hits - 1, trials, confidence)


def _share_where(hits: int, trials: int, chance: float) -> float:
    """The true share at which no more than `hits` of `trials` have this chance; found by bisection."""
    ways = [comb(trials, k) for k in range(hits + 1)]
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        at_most = sum(way * middle**k * (1 - middle) ** (trials - k) for k, way in enumerate(ways))
        low, high = (middle, high) if at_most > chance else (low, middle)
    return high


def loss_bound(broken: int, fixed: int, trials: int, confidence: float = 0.95) -> float:
    """Upper bound of how much worse the candidate is, as a share of all cases: the broken share's upper bound
    less the fixed share's lower bound, half the error allowed to each; without a fixed case there is no lower bound to
    be wrong about. 300 cases allow 3 broken under 3 points."""
    each = 1 - (1 - confidence) / 2 if fixed else confidence
    return upper_bound(broken, trials, each) - lower_bound(fixed, trials, each)


def _count(pairs: Sequence[Pair]) -> dict[str, Any]:
    return {
        "cases": len(pairs),
        "right_before": sum(pair.before for pair in pairs),
        "right_after": sum(pair.after for pair in pairs),
        "fixed": sum(pair.after and not pair.before for pair in pairs),
        "broken": sum(pair.before and not pair.after for pair in pairs),
    }


def _improvement(facts: Sequence[Pair], policy: GatePolicy) -> Check:
    numbers = _count(facts)
    fixed, broken = numbers["fixed"], numbers["broken"]
    gain = (fixed - broken) / len(facts) if facts else 0.0
    p = mcnemar(fixed, broken)
    numbers |= {"gain": gain, "p": p}
    says = f"{fixed} of {len(facts)} facts fixed in phrasings never trained on, {broken} broken (p = {p:.3f})"
    fewest = fewest_changes(policy.significance)
    if fixed + broken < fewest:
        says += f"; fewer than {fewest} changed facts cannot show an improvement"
        return Check("improvement", Verdict.INCONCLUSIVE, says, numbers)
    passed = gain >= policy.min_improvement and p < policy.significance
    worse = Verdict.FAIL if fixed <= broken else Verdict.INCONCLUSIVE
    return Check("improvement", Verdict.PASS if passed else worse, says, numbers)


def _regression(pairs: Sequence[Pair], policy: GatePolicy) -> Check:
    if not pairs:
        says = "nothing to compare with: no probes, no earlier corrections, no uncorrected questions"
        return Check("no regression", Verdict.INCONCLUSIVE, says)
    numbers = _count(pairs)
    fixed, broken = numbers["fixed"], numbers["broken"]
    numbers["loss_bound"] = bound = loss_bound(broken, fixed, len(pairs))
    says = f"{broken} of {len(pairs)} guarded answers broken, {fixed} fixed: at most {bound:.1%} worse"
    if bound <= policy.max_regression:
        return Check("no regression", Verdict.PASS, says, numbers)
    certain = -loss_bound(fixed, broken, len(pairs)) > policy.max_regression
    return Check("no regression", Verdict.FAIL if certain else Verdict.INCONCLUSIVE, says, numbers)


def _harm(name: str, pairs: Sequence[Pair], policy: GatePolicy) -> Check:
    """A set too small to bound must at least show no harm."""
    numbers = _count(pairs)
    fixed, broken = numbers["fixed"], numbers["broken"]
    numbers["p"] = p = mcnemar(broken, fixed)
    says = f"{name}: {numbers['right_before']} right before, {numbers['right_after']} after, of {len(pairs)}"
    harmed = p < policy.significance and broken - fixed > policy.max_regression * len(pairs)
    return Check(name, Verdict.FAIL if harmed else Verdict.PASS, says, numbers)


def _memory(pairs: Sequence[Pair], policy: GatePolicy) -> Check:
    numbers = _count(pairs)
    before, after = numbers["right_before"], numbers["right_after"]
    says = f"memory on: {before} right before, {after} after, of {len(pairs)}"
    if after >= before:
        return Check("memory on", Verdict.PASS, says, numbers)
    proven = mcnemar(numbers["broken"], numbers["fixed"]) < policy.significance
    small = before - after <= policy.max_regression * len(pairs)
    verdict = Verdict.FAIL if proven else Verdict.PASS if small else Verdict.INCONCLUSIVE
    return Check("memory on", verdict, says, numbers)


def _length(evidence: Evidence, policy: GatePolicy) -> Check:
    before, after = evidence.length_before, evidence.length_after
    numbers = {"before": before, "after": after}
    says = f"answers to the guarded questions take {after:.1f} tokens, before {before:.1f}"
    grown = before > 0 and after > before * (1 + policy.max_length_growth)
    return Check("length", Verdict.FAIL if grown else Verdict.PASS, says, numbers)
