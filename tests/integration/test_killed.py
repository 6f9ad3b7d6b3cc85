"""Control, the gateway, Redis and each of two engines killed with -9 at every step of what control does in several
steps, everything else going on beside it. The engines hold names instead of a model
(tests/integration/test_swap_killed.py has the real one); all else is as `graft up` starts it.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from deploy.demo.serving import free_port
from gateway.probes import Probes
from tests.integration.killing import CONTROL, killed, steps_of
from tests.integration.light_engine import light_engine
from tests.integration.operations import OPERATIONS
from tests.integration.town import Town, planned, town

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

ENGINES = ("engine-1", "engine-2")
VICTIMS = (CONTROL, "gateway", "redis", *ENGINES)
SAMPLE = frozenset({*((name, CONTROL) for name in OPERATIONS), *(("promote", name) for name in VICTIMS)})
"""Operations and victims of which one step, in the middle, is tried in every test run; all are with `-m long`."""
EACH = [(operation, victim) for operation in OPERATIONS for victim in VICTIMS]

Enumerated = Mapping[str, Sequence[str]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    ports = {name: free_port() for name in ENGINES}
    urls = ",".join(f"http://127.0.0.1:{port}" for port in ports.values())
    plan = planned(tmp_path_factory.mktemp("town"), base_model, engine_urls=urls)
    async with Probes() as probes:
        engines = [light_engine(name, port, probes) for name, port in ports.items()]
        async with town(plan, engines) as made:
            await made.start("redis")
            await asyncio.gather(*(made.start(name) for name in ("gateway", *ENGINES)))
            yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def steps(place: Town) -> Enumerated:
    """What each operation goes through, as it says itself when nothing disturbs it."""
    return {operation: await steps_of(place, operation) for operation in OPERATIONS}


async def test_every_operation_changes_the_record_between_its_first_step_and_its_last(
    steps: Enumerated,
) -> None:
    for found in steps.values():
        assert "record.commit#1" in found[1:-1]


@pytest.mark.parametrize(("operation", "victim"), [each for each in EACH if each in SAMPLE])
async def test_it_is_killed_as_the_record_changes(
    place: Town, steps: Enumerated, operation: str, victim: str
) -> None:
    middle = "record.commit#1"
    assert middle in steps[operation]
    await killed(place, operation, victim, middle)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("operation", "victim"), EACH)
async def test_it_is_killed_at_every_step(
    place: Town, steps: Enumerated, operation: str, victim: str
) -> None:
    for step in steps[operation]:
        await killed(place, operation, victim, step)
