"""What the bench of slots holds against its targets."""

from collections.abc import Sequence

import pytest

from tests.bench.report import Figure
from tests.bench.slots import ADAPTERS, Seen, figures

EVEN = [0.1] * 99 + [0.5]


def measured(starved: int | None = None) -> Sequence[Figure]:
    """Every load the same, but for one request of the gateway's with so many adapters."""
    found = {
        (who, "zipf", count): Seen([*EVEN[:-1], 1.1] if (who, count) == ("graft", starved) else EVEN, 0, 10.0)
        for who in ("graft", "direct")
        for count in ADAPTERS
    }
    return figures("zipf", found)


def test_an_even_load_meets_every_target() -> None:
    assert {figure.met for figure in measured()} == {True}


@pytest.mark.parametrize("count", ADAPTERS)
def test_a_request_that_starved_is_judged_whatever_the_number_of_adapters(count: int) -> None:
    (missed,) = [figure for figure in measured(starved=count) if not figure.met]
    assert missed.name == f"slowest against median TTFT, {count} adapters, zipf"
