"""A gateway and its control over two base models, and a tenant with an adapter of each."""

import json
import secrets
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from safetensors.torch import load_file, save_file

from adapters.base import BaseModel, describe_base
from adapters.settings import Settings as AdaptersSettings
from gateway.control import Control, assembled
from tests.integration.control_house import administered
from tests.integration.gateway_house import house
from tests.integration.random_adapters import packed, write_adapter

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
    """The gateway's URL, and its control."""

    gateway: str
    control: Control
    admin: httpx.AsyncClient

    def base(self, name: str) -> BaseModel:
        return self.control.bases.named(name)

    async def call(self, method: str, path: str, body: Any = None, status: int = 200, **more: Any) -> Any:
        response = await self.admin.request(method, f"/admin/v1{path}", json=body, **more)
        assert response.status_code == status, response.text
        return response.json()


@dataclass(frozen=True)
class Tenant:
    """With an adapter `default` of the first base model and `small` of the second, one imported version of each."""

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


@asynccontextmanager
async def place_over(
    directory: Path, base_model: Path, short: Path, engine_url: str, short_url: str, token: str
) -> AsyncIterator[Place]:
    """Over an engine of the shipped base model, `base`, and one of another, `short`."""
    more = json.dumps({"short": {"model": str(short), "engines": [short_url]}})
    told = AdaptersSettings(data_dir=directory, base_model=str(base_model), more_bases=more)
    digest = describe_base(base_model).digest
    async with (
        house(directory, engine_url, token, searching=False, base_digest=digest, more_bases=more) as made,
        administered(lambda: assembled(made.settings, told)) as (app, admin),
    ):
        yield Place(made.url, app.state.control, admin)


@asynccontextmanager
async def tenant_of_both(place: Place, files: Path) -> AsyncIterator[Tenant]:
    tenant = await place.call("POST", "/tenants", {"external_id": f"acme-{secrets.token_hex(4)}"}, 201)
    adapters = f"/tenants/{tenant['id']}/adapters"
    await place.call("POST", adapters, {"name": "small", "base": "short"}, 201)
    async with client_of(place, tenant["id"]) as client:
        acme = Tenant(tenant["id"], place, client, {})
        for adapter, base in (("default", "base"), ("small", "short")):
            archive = packed(write_adapter(files / adapter, place.base(base), 1))
            acme.versions[adapter] = (await acme.import_into(adapter, archive, 201))["id"]
        yield acme


@asynccontextmanager
async def client_of(place: Place, tenant: str) -> AsyncIterator[httpx.AsyncClient]:
    key = await place.call("POST", f"/tenants/{tenant}/keys", {}, 201)
    headers = {"authorization": f"Bearer {key['secret']}"}
    async with httpx.AsyncClient(
        base_url=place.gateway, headers=headers, timeout=60, trust_env=False
    ) as made:
        yield made
