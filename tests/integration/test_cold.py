"""Versions that no engine holds, asked for and expected: control, two gateway workers, Redis and two engines as
processes. The engines hold names instead of a model and say what was done to them."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import httpx
import orjson
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from adapters.types import DEFAULT_ADAPTER, Alias, Version
from deploy.demo.serving import free_port
from gateway.keys import ALL_SCOPES
from gateway.leases import INTERVAL_S, RESIDENCY_KEY
from gateway.probes import Probes
from tests.integration.light_engine import CALLS, light_engine
from tests.integration.town import Town, planned, town
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

ENGINES = ("engine-1", "engine-2")
WORKERS = 2
CAPACITY = 4
OTHER = "support"
AT_ONCE = 24


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    ports = {name: free_port() for name in ENGINES}
    urls = ",".join(f"http://127.0.0.1:{port}" for port in ports.values())
    directory = tmp_path_factory.mktemp("town")
    plan = planned(directory, base_model, engine_urls=urls, workers=WORKERS, max_cpu_loras=CAPACITY)
    async with Probes() as probes:
        engines = [light_engine(name, port, probes) for name, port in ports.items()]
        async with town(plan, engines) as made:
            await made.start("redis")
            await asyncio.gather(*(made.start(name) for name in ENGINES))
            workers = [f"gateway-{number + 1}" for number in range(WORKERS)]
            await asyncio.gather(*(made.start(name) for name in ("control", *workers)))
            yield made


async def calls(place: Town) -> Mapping[str, Counter[str]]:
    """By engine, how often each thing was done."""
    async with httpx.AsyncClient(trust_env=False) as http:
        found = {url: (await http.get(url + CALLS)).json()["data"] for url in place.plan.engine_urls}
    return {url: Counter(done) for url, done in found.items()}


async def held(place: Town) -> set[str]:
    return {name for engine in place.engines for name in await engine.resident()}


async def tenant(place: Town, name: str, adapters: tuple[str, ...]) -> tuple[dict[str, Version], str]:
    """With a stable version of each adapter; its versions and its key."""
    made, _ = await place.control.upsert_tenant(name, name, "test")
    versions = {}
    for adapter in adapters:
        await place.control.add_adapter(made.id, adapter, place.control.base, "test")
        version = versions[adapter] = await place.approved(made.id, adapter=adapter)

        async def serves(adapter: str = adapter, version: Version = version) -> bool:
            return (await place.registry.alias(made.id, adapter, Alias.STABLE))[0] == version.id

        await until(serves)  # control puts it live by itself
    issued = await place.control.tenants.create_key(made.id, "test", sorted(ALL_SCOPES), "test")
    await place.control.settle(issued.change)
    await place.control.workers.wait_for(await place.registry.position(), 10.0)
    return versions, issued.secret


async def ask(http: httpx.AsyncClient, key: str, model: str) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}
    headers = {"authorization": f"Bearer {key}"}
    return await http.post("/v1/chat/completions", json=body, headers=headers)


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
