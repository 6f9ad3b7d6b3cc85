"""Two control processes over one record: one acts, the other takes over when that one is killed, and both take orders.
The engines hold names instead of a model."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from adapters.types import DEFAULT_ADAPTER, Alias
from deploy.demo.serving import free_port
from gateway.loops import Loops
from gateway.probes import Probes
from tests.integration.light_engine import light_engine
from tests.integration.town import Town, planned, town
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    """With a control process, and a second one that is the test's own."""
    port = free_port()
    plan = planned(tmp_path_factory.mktemp("town"), base_model, engine_urls=f"http://127.0.0.1:{port}")
    async with Probes() as probes, town(plan, [light_engine("engine-1", port, probes)]) as made:
        await made.start("redis")
        await asyncio.gather(made.start("engine-1"), made.start("gateway"))
        await made.start("control")
        yield made


async def stable(place: Town, tenant_id: str) -> str | None:
    return (await place.registry.alias(tenant_id, DEFAULT_ADAPTER, Alias.STABLE))[0]


async def test_one_acts_the_other_takes_orders_and_takes_over(place: Town) -> None:
    tenant, _ = await place.control.upsert_tenant("acme", "Acme", "test")

    async def moves() -> int:
        return len(await place.registry.alias_history(tenant.id, DEFAULT_ADAPTER, Alias.STABLE))

    async def live(version_id: str) -> None:
        async def serves() -> bool:
            return await stable(place, tenant.id) == version_id

        await until(serves)

    async with Loops(place.control).running():
        one = await place.approved(tenant.id)
        await live(one.id)
        assert not place.control.leadership.leading and await moves() == 1
        two = await place.approved(tenant.id)
        await live(two.id)
        for _ in range(5):
            await place.control.swapper.rollback(tenant.id, DEFAULT_ADAPTER, "test")
            await place.control.swapper.swap(tenant.id, DEFAULT_ADAPTER, two.id, "test")
        assert await moves() == 12
        place.kill("control")
        three = await place.approved(tenant.id)
        await live(three.id)
        assert place.control.leadership.leading and await moves() == 13
        (engine,) = place.engines

        async def alone() -> bool:
            return await engine.resident() == {three.id}

        await until(alone)
