"""The whole loop, through the public interfaces."""

import pytest

from tests.acceptance.conftest import Finished


@pytest.mark.timeout(1000)
def test_the_demo_tells_the_loop_and_its_claims_hold(walk: Finished) -> None:
    assert not walk.untrue, walk.output
    assert "forward again" in walk.output


@pytest.mark.timeout(1000)
@pytest.mark.parametrize("step", range(1, 10))
def test_the_demo_shows_each_step(walk: Finished, step: int) -> None:
    assert any(line.startswith(f"{step}  ") for line in walk.output.splitlines())
