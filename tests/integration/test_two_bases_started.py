"""`graft up` over two base models: a real engine of each, of which the second has only a port in the setting."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from adapters.base import describe_base
from adapters.vllm import VllmEngine
from deploy.demo.serving import free_port
from gateway import launch
from gateway.launch import System
from tests.integration.bases_place import ASKED, shortened
from tests.integration.random_adapters import packed, write_adapter

pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.timeout(540),
    pytest.mark.asyncio(loop_scope="module"),
]


@dataclass(frozen=True)
class Up:
    system: System
    admin: httpx.AsyncClient
    short: Path
    """The second base model."""
    short_url: str

    async def call(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        response = await self.admin.request(method, f"/admin/v1{path}", json=body, **more)
        assert response.status_code < 300, response.text
        return response.json()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def up(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Up]:
    directory, port = tmp_path_factory.mktemp("up"), free_port()
    short = shortened(base_model, directory / "short")
    told: dict[str, Any] = {"data_dir": directory / "data", "base_model": str(base_model)}
    told |= {name: free_port() for name in ("port", "admin_port", "engine_port", "retrieval_port")}
    told["more_bases"] = json.dumps({"short": {"model": str(short), "port": port}})
    async with launch.running(launch.read_settings({}, told), lambda _: None) as system:
        headers = {"authorization": f"Bearer {system.plan.admin_key}"}
        async with httpx.AsyncClient(
            base_url=system.plan.admin_url, headers=headers, timeout=60, trust_env=False
        ) as admin:
            yield Up(system, admin, short, f"http://127.0.0.1:{port}")


@dataclass(frozen=True)
class Small:
    """An adapter of the second base model."""

    version: str
    key: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def small(up: Up, tmp_path_factory: pytest.TempPathFactory) -> Small:
    directory = tmp_path_factory.mktemp("small")
    tenant = (await up.call("POST", "/tenants", {"external_id": "acme"}))["id"]
    await up.call("POST", f"/tenants/{tenant}/adapters", {"name": "small", "base": "short"})
    archive = packed(write_adapter(directory / "made", describe_base(up.short), 1))
    adapter = f"/tenants/{tenant}/adapters/small"
    version = (await up.call("POST", f"{adapter}/versions", content=archive))["id"]
    await up.call("POST", f"{adapter}/versions/{version}/approve")
    await up.call("PUT", f"{adapter}/aliases/stable", {"version": version})
    return Small(version, (await up.call("POST", f"/tenants/{tenant}/keys", {}))["secret"])


async def test_the_second_engine_serves_its_base_model_and_adapters_of_it(up: Up, small: Small) -> None:
    found: dict[str, tuple[str, str]] = {}
    headers = {"authorization": f"Bearer {small.key}"}
    async with httpx.AsyncClient(headers=headers, timeout=60, trust_env=False) as http:
        for model in ("base", "short", "small"):
            url = f"{up.system.plan.gateway_url}/v1/chat/completions"
            answer = await http.post(url, json={"model": model, **ASKED})
            assert answer.status_code == 200, answer.text
            said = answer.json()["choices"][0]["message"]["content"]
            found[model] = (answer.headers["x-graft-version"], said)
        token = up.system.plan.engine_token
        held = [
            await VllmEngine(url, token, http).resident()
            for url in (up.short_url, up.system.plan.engine_urls[0])
        ]
    assert {model: label for model, (label, _) in found.items()} == {
        "base": "base",
        "short": "short",
        "small": "small@v1",
    }
    assert len({text for _, text in found.values()}) == 3
    assert held == [{small.version}, frozenset()]


async def test_each_engine_keeps_its_copies_to_itself(up: Up, small: Small) -> None:
    """The only version is in the second one's cache."""
    first = up.system.plan.engine_cache
    found = [list(place.glob("artifacts/*")) for place in (first, first / "bases" / "short")]
    assert [len(copies) for copies in found] == [0, 1]
