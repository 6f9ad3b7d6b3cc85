"""Whole canaries as clients of the gateway see them: vLLM, Redis, SQLite, a worker, the journal's drain and control's
own loops."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from adapters.settings import Settings as AdaptersSettings
from adapters.types import Lineage, VersionStatus
from deploy.demo.serving import RunningEngine
from gateway.control import Control, assembled
from tests.integration.control_house import administered
from tests.integration.gateway_house import House, house
from tests.integration.random_adapters import write_adapter
from tests.waiting import until
from training.journal_drain import JournalDrain

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

ASKED = {
    "model": "default",
    "messages": [{"role": "user", "content": "What are your opening hours?"}],
    "temperature": 0,
    "max_tokens": 3,
    "ignore_eos": True,
}
FEW = 9
"""Units of a step; with twice as many requests before, too few to know what is slow."""


@dataclass
class Operator:
    admin: httpx.AsyncClient
    control: Control

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        response = await self.admin.request(method, f"/admin/v1/tenants{path}", json=body)
        assert response.is_success, response.text
        return response.json()

    async def newest(self, tenant: str) -> dict[str, Any] | None:
        """The default adapter's newest rollout."""
        found = (await self.call("GET", f"/{tenant}/adapters/default/rollouts"))["data"]
        return found[0] if found else None


@dataclass
class Made:
    house: House
    adapters: AdaptersSettings

    @asynccontextmanager
    async def control(self) -> AsyncIterator[Operator]:
        """A control process with its loops."""
        assemble = partial(assembled, self.house.settings, self.adapters)
        async with administered(assemble, loops=True) as (app, admin):
            yield Operator(admin, app.state.control)


@dataclass
class Client:
    """A tenant's own."""

    tenant: str
    http: httpx.AsyncClient

    async def ask(self, **more: Any) -> httpx.Response:
        session = {"x-session-id": secrets.token_hex(8)}
        response = await self.http.post("/v1/chat/completions", json={**ASKED, **more}, headers=session)
        assert response.status_code == 200, response.text
        return response


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def made(
    engine: RunningEngine, base_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Made]:
    directory = tmp_path_factory.mktemp("house")
    async with house(directory, engine.url, engine.token) as built:
        redis = Redis.from_url(built.settings.redis)
        drain = JournalDrain(redis, built.record, "test")

        async def draining() -> None:
            while True:
                await drain.drain(block_ms=200)

        task = asyncio.create_task(draining())
        yield Made(built, AdaptersSettings(data_dir=directory, base_model=str(base_model)))
        task.cancel()
        await asyncio.wait([task])
        await redis.aclose()


@asynccontextmanager
async def customer(made: Made, operator: Operator, step_seconds: float) -> AsyncIterator[Client]:
    """A tenant with some traffic behind it, whose versions roll out in steps."""
    tenant = await operator.call("POST", "", {"external_id": f"acme-{secrets.token_hex(4)}"})
    rules = {"steps": [50, 100], "min_requests": FEW, "step_seconds": step_seconds, "watch_seconds": 0}
    await operator.call("PUT", f"/{tenant['id']}/policy", {"rollout": rules})
    key = await operator.call("POST", f"/{tenant['id']}/keys", {})
    headers = {"authorization": f"Bearer {key['secret']}"}
    async with httpx.AsyncClient(
        base_url=made.house.url, headers=headers, timeout=60, trust_env=False
    ) as http:
        client = Client(tenant["id"], http)
        for _ in range(2 * FEW):
            await client.ask()
        await until(lambda: journaled(operator, client.tenant, 2 * FEW))
        yield client


async def journaled(operator: Operator, tenant: str, count: int) -> bool:
    found = (await operator.admin.get(f"/admin/v1/stats?tenant_id={tenant}")).json()["data"]
    return sum(version["requests"] for each in found for version in each["versions"]) >= count


async def approved(control: Control, tenant: str, seed: int, files: Path) -> None:
    artifact = await control.store.put(write_adapter(files / str(seed), control.base, seed))
    lineage = Lineage(control.base.digest)
    version = await control.registry.register(tenant, "default", artifact.digest, lineage, {})
    await control.registry.set_status(version.id, VersionStatus.APPROVED)


async def has_split(operator: Operator, client: Client) -> bool:
    """The canary has begun, and the worker knows."""
    if await operator.newest(client.tenant) is None:
        return False
    await operator.control.settle(await operator.control.registry.position())
    return True


async def test_a_canary_goes_live_by_itself_and_over_a_restart_of_control(made: Made, tmp_path: Path) -> None:
    async with made.control() as first, customer(made, first, 0) as client:
        await approved(first.control, client.tenant, 1, tmp_path)
        await until(lambda: has_split(first, client))
        tester = await client.ask(model="default@candidate")
        assert tester.headers["x-graft-version"] == "default@v1"
    async with made.control() as second:
        headers = client.http.headers
        async with httpx.AsyncClient(base_url=made.house.url, headers=headers, timeout=60) as http:
            client = Client(client.tenant, http)
            arms = {(await client.ask()).headers["x-graft-arm"] for _ in range(40)}

            async def promoted() -> bool:
                found = await second.newest(client.tenant)
                return found is not None and found["status"] == "promoted"

            await until(promoted)
            answer = await client.ask()
    assert arms == {"stable", "candidate"}
    assert (answer.headers["x-graft-version"], answer.headers["x-graft-arm"]) == ("default@v1", "stable")


async def test_a_canary_that_users_complain_about_goes_back_by_itself(made: Made, tmp_path: Path) -> None:
    async with made.control() as operator, customer(made, operator, 600) as client:
        await approved(operator.control, client.tenant, 2, tmp_path)
        await until(lambda: has_split(operator, client))

        async def ended() -> bool:
            answer = await client.ask()
            if answer.headers["x-graft-arm"] == "candidate":
                body = {"response_id": answer.json()["id"], "rating": -1}
                assert (await client.http.post("/v1/feedback", json=body)).status_code == 201
            found = await operator.newest(client.tenant)
            return found is not None and found["status"] == "rolled_back"

        await until(ended)
        rollout = await operator.newest(client.tenant)
        assert rollout is not None
        await operator.control.settle(await operator.control.registry.position())
        arms = {(await client.ask()).headers["x-graft-version"] for _ in range(10)}
        report = await operator.call(
            "GET", f"/{client.tenant}/adapters/default/rollouts/{rollout['id']}/report"
        )
        gone = await client.http.post("/v1/chat/completions", json={**ASKED, "model": "default@candidate"})
    assert rollout["reason"] == "the candidate is worse: complaint"
    assert (arms, gone.status_code) == ({"base"}, 404)
    assert report["arms"]["candidate"]["bad"]["complaint"] >= 10
    assert report["arms"]["stable"]["bad"]["complaint"] == 0
