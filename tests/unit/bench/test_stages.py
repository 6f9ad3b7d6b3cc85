"""Where the bench looks for the gateway's time."""

import pytest

from tests.bench.stages import WHERE, find


@pytest.mark.parametrize("name", [name for names in WHERE.values() for name in names])
def test_every_timed_function_is_there(name: str) -> None:
    owner, last = find(name)
    assert callable(getattr(owner, last))
