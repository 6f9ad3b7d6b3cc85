"""Versions that no engine holds, asked for and expected."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import orjson
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from adapters.types import DEFAULT_ADAPTER
from gateway.leases import INTERVAL_S, RESIDENCY_KEY
from tests.integration.light_town import CAPACITY, ENGINES, ask, calls, light_town, tenant
from tests.integration.town import Town
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

OTHER = "support"
AT_ONCE = 24


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    async with light_town(tmp_path_factory.mktemp("town"), base_model) as made:
        yield made


async def held(place: Town) -> set[str]:
    return {name for engine in place.engines for name in await engine.resident()}


async def test_all_that_ask_two_workers_for_a_cold_version_are_served_by_one_load(place: Town) -> None:
    versions, key = await tenant(place, "acme", (DEFAULT_ADAPTER,))
    cold = versions[DEFAULT_ADAPTER]
    made = await place.approved(cold.tenant_id)

    async def retired() -> bool:
        return cold.id not in await held(place) and made.id in await held(place)

    await until(retired)
    before = await calls(place)
    each_its_own = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(
        base_url=place.plan.gateway_url, trust_env=False, timeout=60, limits=each_its_own
    ) as http:
        answers = await asyncio.gather(*(ask(http, key, "default@v1") for _ in range(AT_ONCE)))
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.headers["x-graft-version"] for answer in answers} == {cold.label}
    loads = [
        done[f"PUT {cold.id}"] - before[url][f"PUT {cold.id}"] for url, done in (await calls(place)).items()
    ]
    assert loads == [1] * len(ENGINES)


async def test_a_sessions_first_request_has_the_tenants_other_versions_loaded_ahead(place: Town) -> None:
    """Aliases point to twice as many versions as the engines hold."""
    made = {}
    for number in range(len(ENGINES) * CAPACITY):
        versions, key = await tenant(place, f"tenant{number}", (DEFAULT_ADAPTER, OTHER))
        made[key] = versions

    async def within_capacity() -> bool:
        return all([len(await engine.resident()) <= CAPACITY for engine in place.engines])

    async def cold() -> list[str]:
        there = await held(place)
        return [key for key, versions in made.items() if versions[OTHER].id not in there]

    await until(within_capacity)
    key = (await cold())[0]
    expected = made[key][OTHER].id
    async with httpx.AsyncClient(base_url=place.plan.gateway_url, trust_env=False, timeout=60) as http:
        assert (await ask(http, key, DEFAULT_ADAPTER)).status_code == 200

    async with Redis.from_url(place.plan.redis_url) as redis:

        async def ahead() -> bool:
            return expected in orjson.loads(await redis.get(RESIDENCY_KEY) or b"{}")

        await until(ahead)
    await asyncio.sleep(3 * INTERVAL_S)  # until each worker has heard of it
    before = sum(done[f"POST {expected}"] for done in (await calls(place)).values())
    async with httpx.AsyncClient(base_url=place.plan.gateway_url, trust_env=False, timeout=60) as http:
        answer = await ask(http, key, OTHER)
    done = await calls(place)
    assert answer.headers["x-graft-version"] == f"{OTHER}@v1"
    assert sum(each[f"POST {expected}"] for each in done.values()) == before + 1
