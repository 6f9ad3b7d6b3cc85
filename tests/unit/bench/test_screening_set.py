"""The labelled set that docs/screening.md measures the rules by."""

import json
from collections import Counter

from tests.bench.screening_set import PATH, rows
from training.screening import Reason


def test_the_set_is_what_its_source_makes() -> None:
    assert [json.loads(line) for line in PATH.read_text().splitlines()] == rows()


def test_every_rule_is_measured_by_what_breaks_it_and_by_what_does_not() -> None:
    made = rows()
    counts = Counter(reason for row in made for reason in row["reasons"])
    assert all(counts[reason] >= 5 for reason in (*Reason, "duplicate")), counts
    assert sum(not row["reasons"] for row in made) > len(made) / 2
