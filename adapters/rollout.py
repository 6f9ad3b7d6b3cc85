"""What a rollout does next. Pure: a plan and what was counted in, a decision out.

Every step is an experiment of its own among the units that it randomised: those that were not on the candidate before.
Their chance of moving to it is known exactly, and they stay where they are until the next step.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from adapters.evidence import Stratum, log_evidence, upper_rate

WHOLE = 100
"""Percent: the candidate takes over."""
QUALITY_SAMPLE = 20
"""Units that the candidate must have answered before signals of quality are listened to."""
SUSPICION = 4.0
"""Evidence from which a step waits for more, though not enough to roll back."""
WATCH_FLOOR = 0.05
"""Rate of a signal that a watch puts up with whatever was seen before."""


class Signal(StrEnum):
    """What may go wrong with an answer."""

    ERROR = "error"
    EMPTY = "empty"
    SLOW = "slow"
    REFUSAL = "refusal"
    COMPLAINT = "complaint"
    """A thumb down or a correction."""


QUALITY = frozenset({Signal.REFUSAL, Signal.COMPLAINT})
"""Judged once the sample is large enough; the others may end a rollout at once."""


class Action(StrEnum):
    HOLD = "hold"
    ADVANCE = "advance"
    PROMOTE = "promote"
    ROLL_BACK = "roll_back"
    PAUSE = "pause"
    FINISH = "finish"
    """A watch has ended well."""


@dataclass(frozen=True)
class Plan:
    """How one rollout goes; frozen when it starts."""

    steps: tuple[int, ...] = (WHOLE,)
    """Shares in percent, rising to 100."""
    min_requests: int = 50
    """Units that the candidate must have answered in a step."""
    step_seconds: float = 60.0
    """Shortest time of a step."""
    max_step_seconds: float = 86_400.0
    """A step that would take longer at the adapter's traffic is skipped."""
    watch_seconds: float = 3600.0
    """How long the candidate is watched once it has all of the traffic."""
    alpha: float = 0.05
    """Chance of rolling back a candidate that is no worse, over the whole rollout and all signals."""

    @property
    def threshold(self) -> float:
        """Evidence, as its logarithm, at which one signal ends the rollout."""
        return math.log(len(Signal) / self.alpha)


@dataclass(frozen=True)
class Counts:
    """Of one arm in one step: a unit counts once, however many requests it made."""

    units: int = 0
    bad: Mapping[Signal, int] = field(default_factory=dict)
    """Units to which the signal happened."""


@dataclass(frozen=True)
class StepCounts:
    """part: the chance, in between 0 and 1, that a unit of this step got the candidate."""

    part: float
    stable: Counts = Counts()
    candidate: Counts = Counts()


@dataclass(frozen=True)
class Decision:
    action: Action
    reason: str
    """A sentence."""
    step: int = 0
    """Index of the step to go to; only for ADVANCE."""
    numbers: Mapping[str, Any] = field(default_factory=dict)
    """What it was decided on."""


def part_of(share: float, before: float) -> float:
    """The chance that a unit which is not on the candidate yet gets it when its share rises. Percents."""
    return (share - before) / (WHOLE - before)


def next_step(plan: Plan, after: int, before: float, traffic: float) -> int:
    """Index of the next step that can be filled in time; the last one needs no sample.

    after: index of the step that ends, -1 at the start. before: its share. traffic: requests that the adapter gets in
    `max_step_seconds`.
    """
    last = len(plan.steps) - 1
    for index in range(after + 1, last):
        if traffic * (plan.steps[index] - before) / WHOLE >= plan.min_requests:
            return index
    return last


def decide(plan: Plan, step: int, seen: Sequence[StepCounts], elapsed_s: float, traffic: float) -> Decision:
    """A running rollout's next move. seen: by step, the present one last. elapsed_s: of the present step."""
    evidence = {signal: log_evidence(_strata(seen, signal)) for signal in Signal}
    now = seen[-1].candidate
    numbers = {
        "share": plan.steps[step],
        "elapsed_s": round(elapsed_s, 1),
        "candidate": now.units,
        "stable": seen[-1].stable.units,
        "evidence": {signal.value: round(value, 2) for signal, value in evidence.items()},
        "threshold": round(plan.threshold, 2),
    }
    worst = _worst(evidence, sum(each.candidate.units for each in seen))
    if evidence[worst] >= plan.threshold:
        return Decision(Action.ROLL_BACK, f"the candidate is worse: {worst.value}", numbers=numbers)
    suspicious = evidence[worst] >= math.log(SUSPICION)
    late = elapsed_s >= plan.max_step_seconds
    if suspicious and late:
        return Decision(Action.PAUSE, f"it may be worse ({worst.value}): a person decides", numbers=numbers)
    if suspicious:
        return Decision(Action.HOLD, f"it may be worse: {worst.value}", numbers=numbers)
    if not late and elapsed_s < plan.step_seconds:
        return Decision(Action.HOLD, "the step's time is not over", numbers=numbers)
    if not late and now.units < plan.min_requests:
        return Decision(Action.HOLD, "the sample is too small", numbers=numbers)
    following = next_step(plan, step, plan.steps[step], traffic)
    reason = "too little traffic for this step" if now.units < plan.min_requests else "no sign of harm"
    action = Action.PROMOTE if plan.steps[following] == WHOLE else Action.ADVANCE
    return Decision(action, reason, following, numbers)


def watch(plan: Plan, counts: Counts, bounds: Mapping[Signal, float], elapsed_s: float) -> Decision:
    """What to do with a version that took over. bounds: by signal, the rate that it must not exceed."""
    evidence = {
        signal: log_evidence([Stratum(counts.bad.get(signal, 0), counts.units, bounds[signal])])
        for signal in bounds
        if bounds[signal] < 1
    }
    numbers = {
        "share": WHOLE,
        "elapsed_s": round(elapsed_s, 1),
        "candidate": counts.units,
        "bounds": {signal.value: round(bound, 3) for signal, bound in bounds.items()},
        "evidence": {signal.value: round(value, 2) for signal, value in evidence.items()},
        "threshold": round(plan.threshold, 2),
    }
    if evidence:
        worst = _worst(evidence, counts.units)
        if evidence[worst] >= plan.threshold:
            return Decision(Action.ROLL_BACK, f"worse than what served before: {worst.value}", 0, numbers)
    if elapsed_s >= plan.watch_seconds:
        return Decision(Action.FINISH, "the watch is over", 0, numbers)
    return Decision(Action.HOLD, "watched", 0, numbers)


def bounds_from(before: Counts, alpha: float) -> dict[Signal, float]:
    """What a watch holds a version to: the rates before it, at the upper end of what they may have been."""
    each = alpha / len(Signal)
    return {
        signal: max(WATCH_FLOOR, upper_rate(before.bad.get(signal, 0), before.units, each))
        for signal in Signal
    }


def _strata(seen: Sequence[StepCounts], signal: Signal) -> list[Stratum]:
    found = []
    for each in seen:
        hits = each.candidate.bad.get(signal, 0)
        found.append(Stratum(hits, hits + each.stable.bad.get(signal, 0), each.part))
    return found


def _worst(evidence: Mapping[Signal, float], sample: int) -> Signal:
    """The signal that speaks most against the candidate, of those that may speak."""
    heard = [signal for signal in evidence if sample >= QUALITY_SAMPLE or signal not in QUALITY]
    return max(heard or evidence, key=lambda signal: evidence[signal])
