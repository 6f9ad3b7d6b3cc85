"""Control, gateway workers, Redis and two engines as processes, where the engines hold names instead of a model and say
what was done to them."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from adapters.types import Alias, Version
from deploy.demo.serving import free_port
from gateway.keys import ALL_SCOPES
from gateway.probes import Probes
from tests.integration.light_engine import CALLS, light_engine
from tests.integration.town import Town, planned, town
from tests.waiting import until

ENGINES = ("engine-1", "engine-2")
WORKERS = 2
CAPACITY = 4


@asynccontextmanager
async def light_town(directory: Path, base_model: Path) -> AsyncIterator[Town]:
    """All of it started; an engine has room for CAPACITY versions. `plan.engine_urls` is in the order of ENGINES."""
    ports = {name: free_port() for name in ENGINES}
    urls = ",".join(f"http://127.0.0.1:{port}" for port in ports.values())
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


async def ask(http: httpx.AsyncClient, key: str, model: str, **more: Any) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2, **more}
    headers = {"authorization": f"Bearer {key}"}
    return await http.post("/v1/chat/completions", json=body, headers=headers)
