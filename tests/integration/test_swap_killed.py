"""Control, gateway, Redis and a real vLLM killed with -9 at every step of a swap, which goes on beside it.
tests/integration/test_killed.py has two engines, and everything else that control does in several steps.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from tests.integration.killing import CONTROL, killed, steps_of
from tests.integration.town import Town, planned, town

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

VICTIMS = (CONTROL, "gateway", "redis", "engine")
SAMPLE = ("engine-1.pull", "record.begin#1", "workers.leases")
"""Steps at which control, gateway and Redis are killed in every test run, the engine at the second of them."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    async with town(planned(tmp_path_factory.mktemp("town"), base_model)) as made:
        await made.start("redis")
        await asyncio.gather(made.start("engine"), made.start("gateway"))
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def steps(place: Town) -> Sequence[str]:
    return await steps_of(place, "swap")


@pytest.mark.parametrize("victim", VICTIMS)
async def test_it_is_killed_at_some_steps(place: Town, steps: Sequence[str], victim: str) -> None:
    assert set(SAMPLE) < set(steps)
    for step in SAMPLE[1:2] if victim == "engine" else SAMPLE:
        await killed(place, "swap", victim, step)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("victim", VICTIMS)
async def test_it_is_killed_at_every_step(place: Town, steps: Sequence[str], victim: str) -> None:
    for step in steps:
        await killed(place, "swap", victim, step)
