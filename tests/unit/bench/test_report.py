"""When a figure meets its target."""

from tests.bench.report import Figure


def test_a_target_bounds_our_own_value() -> None:
    assert Figure("p99", 2.9, "ms", target=3).met
    assert not Figure("p99", 3.1, "ms", target=3).met
    assert Figure("rate", 5000, target=5000, at_most=False).met


def test_a_target_of_the_ratio_looks_at_the_peer() -> None:
    figure = Figure("rate", 900, peer=100, target=10, at_most=False, of_ratio=True)
    assert figure.ratio == 9
    assert figure.met is False


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    assert Figure("rate", 900, peer=None, target=10, of_ratio=True).met is None
    assert Figure("rate", 900).met is None
