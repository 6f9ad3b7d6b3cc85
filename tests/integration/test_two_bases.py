"""Two base models behind one gateway, each in a real vLLM: nothing of one ever reaches an engine of the other."""

import asyncio
import json
import secrets
import shutil
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from safetensors.torch import load_file, save_file

from adapters.base import BaseModel, describe_base
from adapters.settings import Settings as AdaptersSettings
from adapters.vllm import VllmEngine
from deploy.demo import serving
from deploy.demo.serving import RunningEngine
from gateway.admin import create_app
from gateway.control import Control, assembled
from gateway.settings import Settings
from tests.integration.gateway_house import house
from tests.integration.random_adapters import write_adapter

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

ADMIN_KEY = "gk-admin-secret"
LAYERS = 2
"""Of the second base model: the first ones of the shipped one."""
ASKED = {
    "messages": [{"role": "user", "content": "What are your opening hours?"}],
    "temperature": 0,
    "max_tokens": 8,
}


def shortened(model: Path, into: Path) -> Path:
    """Another base model: the shipped one without its upper layers."""
    shutil.copytree(model, into)
    config = json.loads((into / "config.json").read_text())
    (into / "config.json").write_text(json.dumps({**config, "num_hidden_layers": LAYERS}))
    upper = tuple(f"model.layers.{number}." for number in range(LAYERS, config["num_hidden_layers"]))
    tensors = load_file(into / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(upper)}
    save_file(kept, into / "model.safetensors", {"format": "pt"})
    return into


@dataclass(frozen=True)
class Place:
    """A gateway over both engines, and its control."""

    gateway: str
    control: Control
    admin: httpx.AsyncClient
    engines: dict[str, RunningEngine]
    """By the name of the base model."""

    def base(self, name: str) -> BaseModel:
        return self.control.bases.named(name)

    async def call(self, method: str, path: str, body: Any = None, status: int = 200, **more: Any) -> Any:
        response = await self.admin.request(method, f"/admin/v1{path}", json=body, **more)
        assert response.status_code == status, response.text
        return response.json()

    async def said(self, base: str) -> str:
        """What this base model's engine says by itself."""
        running = self.engines[base]
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await VllmEngine(running.url, running.token, http).chat(
                "base", ASKED["messages"], ASKED["max_tokens"]
            )
        return answer.texts[0]


@dataclass(frozen=True)
class Tenant:
    """With an adapter `default` of the first base model and `small` of the second, one version serving of each."""

    id: str
    place: Place
    client: httpx.AsyncClient
    versions: dict[str, str]
    """Adapter to version id."""

    async def ask(self, model: str) -> tuple[str, str]:
        """Which version answered, and what."""
        response = await self.client.post("/v1/chat/completions", json={"model": model, **ASKED})
        assert response.status_code == 200, response.text
        return response.headers["x-graft-version"], response.json()["choices"][0]["message"]["content"]

    async def import_into(self, adapter: str, archive: bytes, status: int) -> Any:
        path = f"/tenants/{self.id}/adapters/{adapter}/versions"
        return await self.place.call("POST", path, status=status, content=archive)

    async def exported(self, adapter: str) -> bytes:
        path = f"/admin/v1/tenants/{self.id}/adapters/{adapter}/versions/v1/artifact"
        return (await self.place.admin.get(path)).content


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(
    engine: RunningEngine, base_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Place]:
    directory = tmp_path_factory.mktemp("place")
    short = shortened(base_model, directory / "short")
    starting = serving.engine(short)
    other = await asyncio.to_thread(starting.__enter__)
    try:
        more = json.dumps({"short": {"model": str(short), "engines": [other.url]}})
        told = AdaptersSettings(data_dir=directory, base_model=str(base_model), more_bases=more)
        digest = describe_base(base_model).digest
        async with (
            house(
                directory, engine.url, engine.token, searching=False, base_digest=digest, more_bases=more
            ) as made,
            operated(made.settings, told) as (control, admin),
        ):
            yield Place(made.url, control, admin, {"base": engine, "short": other})
    finally:
        await asyncio.to_thread(starting.__exit__, None, None, None)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def acme(place: Place, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Tenant]:
    files = tmp_path_factory.mktemp("acme")
    tenant = await place.call("POST", "/tenants", {"external_id": f"acme-{secrets.token_hex(4)}"}, 201)
    adapters = f"/tenants/{tenant['id']}/adapters"
    made = await place.call("POST", adapters, {"name": "small", "base": "short"}, 201)
    assert made["base_digest"] == place.base("short").digest
    async with client_of(place, tenant["id"]) as client:
        acme = Tenant(tenant["id"], place, client, {})
        for adapter, base in (("default", "base"), ("small", "short")):
            archive = packed(write_adapter(files / adapter, place.base(base), 1), files / f"{adapter}.tar.gz")
            version = (await acme.import_into(adapter, archive, 201))["id"]
            await place.call("POST", f"{adapters}/{adapter}/versions/{version}/approve")
            await place.call("PUT", f"{adapters}/{adapter}/aliases/stable", {"version": version})
            acme.versions[adapter] = version
        yield acme
    for replica in place.control.engines:
        for version in await replica.resident():
            await replica.unload(version)


@asynccontextmanager
async def operated(
    settings: Settings, told: AdaptersSettings
) -> AsyncIterator[tuple[Control, httpx.AsyncClient]]:
    app = create_app(lambda: assembled(settings, told), ADMIN_KEY, loops=False)
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://control", headers=headers
        ) as admin,
    ):
        yield app.state.control, admin


@asynccontextmanager
async def client_of(place: Place, tenant: str) -> AsyncIterator[httpx.AsyncClient]:
    key = await place.call("POST", f"/tenants/{tenant}/keys", {}, 201)
    headers = {"authorization": f"Bearer {key['secret']}"}
    async with httpx.AsyncClient(
        base_url=place.gateway, headers=headers, timeout=60, trust_env=False
    ) as made:
        yield made


def packed(files: Path, into: Path) -> bytes:
    with tarfile.open(into, "w:gz") as archive:
        archive.add(files, arcname=".")
    return into.read_bytes()


async def test_an_adapter_of_each_base_model_answers_from_its_own_engine(place: Place, acme: Tenant) -> None:
    answers = {name: await acme.ask(name) for name in ("base", "short", "default", "small")}
    labels = {name: label for name, (label, _) in answers.items()}
    assert labels == {"base": "base", "short": "short", "default": "default@v1", "small": "small@v1"}
    assert {name: answers[name][1] for name in ("base", "short")} == {
        name: await place.said(name) for name in ("base", "short")
    }
    assert len({text for _, text in answers.values()}) == 4


async def test_a_tenant_sees_the_base_models_of_its_own_adapters(place: Place, acme: Tenant) -> None:
    listed = (await acme.client.get("/v1/models")).json()["data"]
    parents = {model["id"]: model["parent"] for model in listed}
    assert parents == {"base": None, "short": None, "default": "base", "small": "short"}


async def test_a_tenant_without_an_adapter_of_a_base_model_cannot_tell_that_it_is_there(place: Place) -> None:
    tenant = await place.call("POST", "/tenants", {"external_id": f"globex-{secrets.token_hex(4)}"}, 201)
    async with client_of(place, tenant["id"]) as client:
        listed = [model["id"] for model in (await client.get("/v1/models")).json()["data"]]
        there, nowhere = [
            await client.post("/v1/chat/completions", json={"model": model, **ASKED})
            for model in ("short", "shirt")
        ]
    assert (listed, there.status_code) == (["base", "default"], 404)
    assert there.text.replace("short", "shirt") == nowhere.text


@pytest.mark.parametrize(("source", "into"), [("default", "small"), ("small", "default")])
async def test_an_export_of_one_base_model_is_refused_for_the_other(
    acme: Tenant, source: str, into: str
) -> None:
    refused = await acme.import_into(into, await acme.exported(source), 409)
    assert "belongs to base model" in refused["error"]["message"]


async def test_files_for_the_larger_base_model_are_refused_for_the_smaller(
    place: Place, acme: Tenant, tmp_path: Path
) -> None:
    """They name no base model: what they change is not there."""
    files = write_adapter(tmp_path / "larger", place.base("base"), 2)
    refused = await acme.import_into("small", packed(files, tmp_path / "larger.tar.gz"), 400)
    assert refused["error"]["type"] == "invalid_request_error"


async def test_an_adapter_stays_with_its_base_model(place: Place, acme: Tenant) -> None:
    adapters = f"/tenants/{acme.id}/adapters"
    await place.call("POST", adapters, {"name": "small"}, 409)
    await place.call("POST", adapters, {"name": "other", "base": "huge"}, 404)
    await place.call("POST", adapters, {"name": "short", "base": "short"}, 400)


async def test_a_run_that_no_learner_could_take_is_refused_with_the_reason(
    place: Place, acme: Tenant
) -> None:
    body = {"tenant_id": acme.id, "adapter": "small"}
    refused = await place.call("POST", "/runs", body, 409)
    assert "No learner holds 'short'" in refused["error"]["message"]
    await place.call("POST", "/runs", {**body, "adapter": "default"}, 201)


async def test_no_version_ever_came_to_an_engine_of_the_other_base_model(place: Place, acme: Tenant) -> None:
    """After everything above, asked for and waited for everywhere: by what each engine holds, and by all that it has
    ever written about."""
    versions = list(acme.versions.values())
    for _ in range(2):
        await place.control.reconciler.run_once(dict.fromkeys(versions, 5000.0), versions)
    replicas = (await place.call("GET", "/replicas"))["data"]
    assert {replica["base"]: replica["resident"] for replica in replicas} == {
        "base": [acme.versions["default"]],
        "short": [acme.versions["small"]],
    }
    logs = {name: running.log.read_text(errors="replace") for name, running in place.engines.items()}
    for adapter, base, other in (("default", "base", "short"), ("small", "short", "base")):
        assert acme.versions[adapter] in logs[base]
        assert acme.versions[adapter] not in logs[other]
