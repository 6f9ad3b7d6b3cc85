import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.gates import Evidence, Pair, judge, loss_bound, lower_bound, mcnemar, upper_bound
from training.types import GatePolicy, Verdict

RIGHT, FIXED, BROKEN, WRONG = Pair(True, True), Pair(False, True), Pair(True, False), Pair(False, False)


def evidence(
    facts: list[Pair] | None = None,
    guarded: list[Pair] | None = None,
    memory: list[Pair] | None = None,
    lengths: tuple[float, float] = (5.0, 5.0),
) -> Evidence:
    return Evidence(
        facts=[FIXED] * 10 if facts is None else facts,
        guarded={"base probes": [RIGHT] * 300 if guarded is None else guarded},
        with_memory=[RIGHT] * 30 if memory is None else memory,
        length_before=lengths[0],
        length_after=lengths[1],
    )


def verdict(given: Evidence) -> Verdict:
    return judge(given, GatePolicy())[0]


def test_a_clear_improvement_without_harm_passes() -> None:
    assert verdict(evidence()) is Verdict.PASS


def test_five_fixed_facts_are_enough_and_four_are_not() -> None:
    assert verdict(evidence([FIXED] * 5)) is Verdict.PASS
    assert verdict(evidence([FIXED] * 4 + [RIGHT] * 8)) is Verdict.INCONCLUSIVE


def test_a_tenant_that_asks_for_less_certainty_needs_fewer_facts() -> None:
    four = evidence([FIXED] * 4 + [RIGHT] * 8)
    assert judge(four, GatePolicy(significance=0.1))[0] is Verdict.PASS


def test_eight_fixed_and_one_broken_pass() -> None:
    assert verdict(evidence([FIXED] * 8 + [BROKEN])) is Verdict.PASS


def test_more_broken_than_fixed_facts_fail() -> None:
    assert verdict(evidence([FIXED] * 2 + [BROKEN] * 4)) is Verdict.FAIL


def test_no_held_out_phrasing_goes_to_a_person() -> None:
    assert verdict(evidence([])) is Verdict.INCONCLUSIVE


def test_three_broken_probes_of_300_are_allowed_and_four_are_doubtful() -> None:
    assert verdict(evidence(guarded=[BROKEN] * 3 + [RIGHT] * 297)) is Verdict.PASS
    assert verdict(evidence(guarded=[BROKEN] * 4 + [RIGHT] * 296)) is Verdict.INCONCLUSIVE


def test_many_broken_probes_fail() -> None:
    assert verdict(evidence(guarded=[BROKEN] * 30 + [RIGHT] * 270)) is Verdict.FAIL


def test_nothing_guarded_goes_to_a_person() -> None:
    assert verdict(evidence(guarded=[])) is Verdict.INCONCLUSIVE


def test_memory_on_may_not_get_worse() -> None:
    assert verdict(evidence(memory=[BROKEN] * 6 + [RIGHT] * 24)) is Verdict.FAIL
    assert verdict(evidence(memory=[BROKEN] * 2 + [RIGHT] * 28)) is Verdict.INCONCLUSIVE


def test_answers_may_not_grow_by_more_than_a_fifth() -> None:
    assert verdict(evidence(lengths=(5.0, 5.9))) is Verdict.PASS
    assert verdict(evidence(lengths=(5.0, 6.1))) is Verdict.FAIL


def test_a_small_set_fails_when_harm_is_shown() -> None:
    pairs = Evidence([FIXED] * 10, {"probes": [RIGHT] * 900, "own": [BROKEN] * 6}, [], 5.0, 5.0)
    assert next(c for c in judge(pairs, GatePolicy())[1] if c.name == "own").verdict is Verdict.FAIL


@pytest.mark.parametrize(("wins", "losses", "p"), [(5, 0, 0.03125), (8, 1, 0.01953125), (0, 0, 1.0)])
def test_mcnemar_is_the_exact_binomial_tail(wins: int, losses: int, p: float) -> None:
    assert mcnemar(wins, losses) == pytest.approx(p)


def test_bounds_agree_with_the_published_tables() -> None:
    assert upper_bound(0, 100, 0.95) == pytest.approx(0.0295, abs=1e-4)
    assert lower_bound(10, 10, 0.95) == pytest.approx(0.7411, abs=1e-4)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 300), st.data())
def test_a_bound_is_never_below_what_was_seen(trials: int, data: st.DataObject) -> None:
    broken = data.draw(st.integers(0, trials))
    fixed = data.draw(st.integers(0, trials - broken))
    assert loss_bound(broken, fixed, trials) >= (broken - fixed) / trials - 1e-9
