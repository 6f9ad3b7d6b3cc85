import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.evidence import Stratum, effect, log_evidence, upper_rate
from adapters.rollout import (
    Action,
    Counts,
    Plan,
    Signal,
    StepCounts,
    bounds_from,
    decide,
    next_step,
    part_of,
    watch,
)

PLAN = Plan(steps=(5, 25, 100), min_requests=50, step_seconds=60, max_step_seconds=3600)
BUSY = 1e6


def step(candidate: int, stable: int = 1000, part: float = 0.05, **bad: tuple[int, int]) -> StepCounts:
    """bad: signal to the number of units of the candidate and of stable."""
    mine = {Signal(name): pair[0] for name, pair in bad.items()}
    others = {Signal(name): pair[1] for name, pair in bad.items()}
    return StepCounts(part, Counts(stable, others), Counts(candidate, mine))


def test_a_quiet_step_with_its_sample_and_time_advances() -> None:
    decision = decide(PLAN, 0, [step(50)], 60, BUSY)
    assert (decision.action, decision.step) == (Action.ADVANCE, 1)


@pytest.mark.parametrize(("units", "seconds"), [(49, 60), (50, 59)])
def test_a_step_waits_for_its_sample_and_its_time(units: int, seconds: float) -> None:
    assert decide(PLAN, 0, [step(units)], seconds, BUSY).action is Action.HOLD


def test_the_last_step_but_one_promotes() -> None:
    decision = decide(PLAN, 1, [step(50), step(50, part=0.2)], 60, BUSY)
    assert decision.action is Action.PROMOTE


def test_errors_of_the_candidate_alone_end_it_at_once() -> None:
    assert decide(PLAN, 0, [step(3, error=(3, 0))], 1, BUSY).action is Action.ROLL_BACK


def test_errors_that_stable_has_too_do_not() -> None:
    assert decide(PLAN, 0, [step(50, error=(3, 57))], 60, BUSY).action is Action.ADVANCE


def test_complaints_are_heard_only_after_a_sample() -> None:
    assert decide(PLAN, 0, [step(19, complaint=(5, 0))], 1, BUSY).action is Action.HOLD
    assert decide(PLAN, 0, [step(20, complaint=(5, 0))], 1, BUSY).action is Action.ROLL_BACK


def test_evidence_adds_up_over_steps() -> None:
    one = [step(100, 1900, complaint=(10, 70))]
    two = [*one, step(500, 1900, 0.21, complaint=(60, 120))]
    assert decide(PLAN, 0, one, 60, BUSY).action is not Action.ROLL_BACK
    assert decide(PLAN, 1, two, 60, BUSY).action is Action.ROLL_BACK


def test_a_suspicion_holds_the_step_and_in_the_end_asks_a_person() -> None:
    seen = [step(100, 1900, complaint=(9, 60))]
    assert decide(PLAN, 0, seen, 60, BUSY).action is Action.HOLD
    assert decide(PLAN, 0, seen, 3600, BUSY).action is Action.PAUSE


def test_a_step_whose_time_is_up_goes_on_without_its_sample() -> None:
    decision = decide(PLAN, 0, [step(3)], 3600, 100)
    assert (decision.action, decision.reason) == (Action.PROMOTE, "too little traffic for this step")


@pytest.mark.parametrize(("traffic", "index"), [(1e6, 0), (999, 1), (199, 2), (0, 2)])
def test_steps_that_this_traffic_cannot_fill_are_skipped(traffic: float, index: int) -> None:
    assert next_step(PLAN, -1, 0, traffic) == index


def test_a_step_randomises_those_that_are_not_on_the_candidate_yet() -> None:
    assert part_of(25, 5) == pytest.approx(20 / 95)


def test_a_watch_ends_well_or_goes_back() -> None:
    bounds = bounds_from(Counts(200, {Signal.COMPLAINT: 10}), 0.05)
    assert watch(PLAN, Counts(300, {Signal.COMPLAINT: 18}), bounds, 3600).action is Action.FINISH
    assert watch(PLAN, Counts(300, {Signal.COMPLAINT: 90}), bounds, 10).action is Action.ROLL_BACK


def test_without_a_past_there_is_nothing_to_watch_against() -> None:
    bounds = bounds_from(Counts(), 0.05)
    assert watch(PLAN, Counts(300, {Signal.ERROR: 300}), bounds, 10).action is Action.HOLD


@given(part=st.floats(0.01, 0.9), hits=st.integers(0, 40), trials=st.integers(0, 40))
def test_the_expected_evidence_without_a_difference_never_exceeds_one(
    part: float, hits: int, trials: int
) -> None:
    """One more bad unit, the candidate's with its part's chance: the mean of the evidence stays."""
    trials += hits
    now = math.exp(log_evidence([Stratum(hits, trials, part)]))
    after = part * math.exp(log_evidence([Stratum(hits + 1, trials + 1, part)]))
    after += (1 - part) * math.exp(log_evidence([Stratum(hits, trials + 1, part)]))
    assert after == pytest.approx(now)


def test_no_bad_unit_is_no_evidence() -> None:
    assert log_evidence([Stratum(0, 0, 0.05)]) == log_evidence([]) == pytest.approx(0)


def test_an_effect_has_its_interval_around_it() -> None:
    found = effect((100, 1000), (200, 1000), 0.05)
    assert found is not None
    assert found.low > 0
    assert (found.low + found.high) / 2 == pytest.approx(found.difference) == pytest.approx(0.1)


def test_nothing_in_a_small_sample_of_something_rare_is_no_effect() -> None:
    """Of versions that are alike, one in eighty shows it: too many, where one looks again and again."""
    found = effect((80, 5689), (0, 311), 0.01)
    assert found is not None
    assert found.low < 0 < found.high


def test_an_empty_sample_has_no_effect() -> None:
    assert effect((0, 0), (1, 10), 0.05) is None


@pytest.mark.parametrize(("hits", "trials", "bound"), [(0, 100, 0.0295), (10, 100, 0.1637), (0, 0, 1.0)])
def test_the_upper_rate_is_clopper_and_pearsons(hits: int, trials: int, bound: float) -> None:
    assert upper_rate(hits, trials, 0.05) == pytest.approx(bound, abs=1e-4)
