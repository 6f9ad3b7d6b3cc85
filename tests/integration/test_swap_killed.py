"""Every process killed with -9 at every step of a swap, the swap going on beside it, everything started again.

After one pass of the reconciler the record says one of two things, the engine holds exactly what the record wants, and
what the alias points to answers.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from adapters.types import DEFAULT_ADAPTER, Alias, VersionStatus
from adapters.wants import Wants
from tests.integration.swap_process import STEPS
from tests.integration.town import Customer, Town, planned, town

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

SAMPLE = ("engine.pull", "registry.move_alias", "workers.leases")
"""Steps at which every victim is killed in every test run; the others are tried with `-m long`."""
SAMPLED = [pytest.param(step, marks=[] if step in SAMPLE else pytest.mark.long) for step in STEPS]
FLIP = STEPS.index("registry.move_alias")
BEFORE = (VersionStatus.STABLE, VersionStatus.APPROVED)
AFTER = (VersionStatus.RETIRED, VersionStatus.STABLE)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    async with town(planned(tmp_path_factory.mktemp("town"), base_model)) as made:
        await made.start("redis")
        await asyncio.gather(made.start("engine"), made.start("gateway"))
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def acme(place: Town) -> AsyncIterator[Customer]:
    customer = await place.customer()
    yield customer
    await place.left(customer)
    await place.settled()
    await place.reconciler.run_once()


async def test_a_swap_that_nothing_disturbs_passes_exactly_these_steps(place: Town, acme: Customer) -> None:
    """So that the tests below leave none out."""
    swapping = await place.swapping(acme, "end")
    await swapping.reached("end")
    assert await swapping.ended() == {"visible": True, "unloaded": [acme.old.id]}
    assert tuple(swapping.steps) == STEPS
    assert await place.engine.resident() == {acme.new.id}


@pytest.mark.parametrize("step", STEPS)
async def test_control_is_killed(place: Town, acme: Customer, step: str) -> None:
    swapping = await place.swapping(acme, step)
    await swapping.reached(step)
    await swapping.kill()
    await whole(place, acme, AFTER if STEPS.index(step) > FLIP else BEFORE)


@pytest.mark.parametrize("step", SAMPLED)
@pytest.mark.parametrize("victim", ["gateway", "redis"])
async def test_the_gateway_or_redis_is_killed(place: Town, acme: Customer, victim: str, step: str) -> None:
    """Neither keeps the swap from its end: the alias moves all the same."""
    swapping = await place.swapping(acme, step)
    await swapping.reached(step)
    place.kill(victim)
    outcome = await swapping.ended()
    await place.start(victim)
    assert "error" not in outcome
    await whole(place, acme, AFTER)


@pytest.mark.parametrize(
    "step", [pytest.param(s, marks=[] if s == STEPS[FLIP] else pytest.mark.long) for s in STEPS]
)
async def test_the_engine_is_killed(place: Town, acme: Customer, step: str) -> None:
    """Before the probe has passed, the swap fails and changes nothing."""
    swapping = await place.swapping(acme, step)
    await swapping.reached(step)
    place.kill("engine")
    outcome = await swapping.ended()
    await place.start("engine")
    assert ("error" in outcome) is (STEPS.index(step) < FLIP)
    await whole(place, acme, BEFORE if STEPS.index(step) < FLIP else AFTER)


async def whole(place: Town, customer: Customer, statuses: tuple[VersionStatus, VersionStatus]) -> None:
    """One pass of the reconciler later: the record, the engine and the gateway say the same."""
    await place.settled()
    await place.reconciler.run_once()
    versions = [await place.registry.version(version.id) for version in (customer.old, customer.new)]
    assert tuple(version.status for version in versions) == statuses
    stable = versions[statuses.index(VersionStatus.STABLE)]
    assert (await place.registry.alias(customer.id, DEFAULT_ADAPTER, Alias.STABLE))[0] == stable.id
    newest, *_ = await place.registry.alias_history(customer.id, DEFAULT_ADAPTER, Alias.STABLE)
    assert newest.version_id == stable.id
    resident = await place.engine.resident()
    assert resident == set(await Wants(place.control.sql).wanted(place.control.base.digest, (), (), 100))
    assert not await place.reconciler.run_once()
    answer = await place.ask(customer)
    assert (answer.status_code, answer.headers.get("x-graft-version")) == (200, stable.label), answer.text
