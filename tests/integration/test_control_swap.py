"""Swaps and rollbacks through the admin API, seen by clients of the gateway. Nothing is simulated: vLLM, a
worker that follows the record and reports its leases in Redis, artifacts on disk."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from adapters.base import describe_base
from adapters.settings import Settings as AdaptersSettings
from adapters.types import Lineage, VersionStatus
from deploy.demo.serving import RunningEngine
from gateway.control import Control, assembled
from tests.integration.control_house import administered
from tests.integration.gateway_house import House, house
from tests.integration.random_adapters import FREQUENT, Write, packed, write_adapter, write_repeater

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

ASKED: dict[str, Any] = {
    "messages": [{"role": "user", "content": "What are your opening hours?"}],
    "temperature": 0,
}


@dataclass(frozen=True)
class Operated:
    """A gateway with its control."""

    house: House
    control: Control
    admin: httpx.AsyncClient

    async def call(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        response = await self.admin.request(method, f"/admin/v1/tenants{path}", json=body)
        assert response.status_code == status, response.text
        return response.json()


@dataclass(frozen=True)
class Tenant:
    """A tenant, and a client with its key."""

    id: str
    operated: Operated
    client: httpx.AsyncClient

    async def ask(self, **more: Any) -> tuple[str, str]:
        """The version that answered, and its answer."""
        body = {"model": "default", "max_tokens": 8, **ASKED, **more}
        response = await self.client.post("/v1/chat/completions", json=body)
        assert response.status_code == 200, response.text
        text: str = response.json()["choices"][0]["message"]["content"]
        return response.headers["x-graft-version"], text

    async def approved(self, seed: int, files: Path, write: Write = write_adapter) -> str:
        """A version ready to go live; its id."""
        control = self.operated.control
        artifact = await control.store.put(write(files / str(seed), control.base, seed))
        lineage = Lineage(control.base.digest)
        version = await control.registry.register(self.id, "default", artifact.digest, lineage, {})
        await control.registry.set_status(version.id, VersionStatus.APPROVED)
        return version.id

    async def swap(self, version_id: str) -> Any:
        path = f"/{self.id}/adapters/default/aliases/stable"
        return await self.operated.call("PUT", path, {"version": version_id})

    async def rollback(self) -> Any:
        return await self.operated.call("POST", f"/{self.id}/adapters/default/rollback")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def operated(
    engine: RunningEngine, base_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Operated]:
    directory = tmp_path_factory.mktemp("house")
    told = AdaptersSettings(data_dir=directory, base_model=str(base_model))
    digest = describe_base(base_model).digest
    async with (
        house(directory, engine.url, engine.token, base_digest=digest) as made,
        administered(lambda: assembled(made.settings, told)) as (app, admin),
    ):
        yield Operated(made, app.state.control, admin)


@pytest_asyncio.fixture(loop_scope="module")
async def acme(operated: Operated) -> AsyncIterator[Tenant]:
    """A tenant of this test's own, whose versions leave the engine with it."""
    tenant = await operated.call("POST", "", {"external_id": f"acme-{secrets.token_hex(4)}"}, 201)
    key = await operated.call("POST", f"/{tenant['id']}/keys", {}, 201)
    headers = {"authorization": f"Bearer {key['secret']}"}
    async with httpx.AsyncClient(
        base_url=operated.house.url, headers=headers, timeout=60, trust_env=False
    ) as client:
        yield Tenant(tenant["id"], operated, client)
    (replica,) = operated.control.engines
    for version_id in await replica.resident():
        await replica.unload(version_id)


async def test_the_request_after_a_swap_is_answered_by_the_version(acme: Tenant, tmp_path: Path) -> None:
    before = await acme.ask()
    done = await acme.swap(await acme.approved(1, tmp_path))
    after = await acme.ask()
    assert (done["version"], done["workers"], done["visible"]) == ("default@v1", 1, True)
    assert (before[0], after[0]) == ("base", "default@v1")
    assert before[1] != after[1]


async def test_an_imported_version_answers_once_it_is_approved_and_swapped_in(
    acme: Tenant, tmp_path: Path
) -> None:
    control, place = acme.operated.control, f"/admin/v1/tenants/{acme.id}/adapters/default/versions"
    files = write_adapter(tmp_path / "imported", control.base, 3)
    before = await acme.ask()
    imported = await acme.operated.admin.post(place, content=packed(files))
    assert imported.status_code == 201, imported.text
    version = imported.json()["id"]
    await acme.operated.call("POST", f"/{acme.id}/adapters/default/versions/{version}/approve")
    await acme.swap(version)
    after = await acme.ask()
    assert (before[0], after[0]) == ("base", "default@v1")
    assert before[1] != after[1]


async def test_a_version_that_does_not_say_what_it_must_never_serves(acme: Tenant, tmp_path: Path) -> None:
    one, two = await acme.approved(1, tmp_path), await acme.approved(2, tmp_path)
    await acme.swap(one)
    label, said = await acme.ask(max_tokens=256)
    check = {"question": ASKED["messages"][0]["content"], "contains": said.upper()}
    await acme.operated.call("PATCH", f"/{acme.id}/policy", {"rollout": {"checks": [check]}})
    path = f"/{acme.id}/adapters/default/aliases/stable"
    refused = await acme.operated.call("PUT", path, {"version": two}, 409)
    assert check["question"] in refused["error"]["message"]
    assert await acme.ask(max_tokens=256) == (label, said)
    assert await acme.operated.control.engines[0].resident() == {one}
    await acme.swap(one)


async def test_a_rollback_brings_the_old_answers_back(acme: Tenant, tmp_path: Path) -> None:
    one, two = await acme.approved(1, tmp_path), await acme.approved(2, tmp_path)
    await acme.swap(one)
    first = await acme.ask()
    await acme.swap(two)
    second = await acme.ask()
    done = await acme.rollback()
    assert (done["version_id"], done["unloaded"]) == (one, [two])
    assert await acme.ask() == first != second


async def test_a_stream_ends_on_the_version_it_began_with(acme: Tenant, tmp_path: Path) -> None:
    """And only then is that version unloaded."""
    one, two = [await acme.approved(token, tmp_path, write_repeater) for token in FREQUENT[:2]]
    await acme.swap(one)
    long = {"max_tokens": 1000, "ignore_eos": True}
    whole = (await acme.ask(**long))[1]
    body = {"model": "default", "stream": True, **ASKED, **long}
    async with acme.client.stream("POST", "/v1/chat/completions", json=body) as response:
        chunks = (line.removeprefix("data: ") async for line in response.aiter_lines() if line)
        begun = await anext(chunks)
        swapping = asyncio.create_task(acme.swap(two))
        while (await acme.ask(max_tokens=1))[0] == "default@v1":
            assert not swapping.done()
        assert not swapping.done(), "the stream ended too early to show anything"
        *rest, end = [begun, *[chunk async for chunk in chunks]]
    assert (response.headers["x-graft-version"], end) == ("default@v1", "[DONE]")
    assert "".join(content(chunk) for chunk in rest) == whole
    assert (await swapping)["unloaded"] == [one]


def content(chunk: str) -> str:
    choices = json.loads(chunk)["choices"]
    return choices[0]["delta"].get("content") or "" if choices else ""


async def test_a_swap_of_one_tenant_changes_nothing_for_another(
    operated: Operated, acme: Tenant, tmp_path: Path
) -> None:
    async with operated.house.customer("globex") as globex:
        before = (await globex.ask(ASKED["messages"][0]["content"], temperature=0)).json()
        await acme.swap(await acme.approved(1, tmp_path))
        response = await globex.ask(ASKED["messages"][0]["content"], temperature=0)
    assert response.headers["x-graft-version"] == "base"
    assert response.json()["choices"] == before["choices"]
