"""What the bench of swaps can tell apart."""

import pytest

from tests.bench.adapters import check_apart
from tests.bench.processes import BenchError


def test_versions_that_say_the_same_could_not_be_told_from_a_mix() -> None:
    check_apart({"default@v1": "green", "default@v2": "blue"})
    with pytest.raises(BenchError, match="default@v1 and default@v3"):
        check_apart({"default@v1": "green", "default@v2": "blue", "default@v3": "green"})
