"""Two base models behind one gateway, each in a real vLLM: nothing of one ever reaches the engine of the other."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from adapters.vllm import VllmEngine
from deploy.demo import serving
from deploy.demo.serving import RunningEngine
from tests.integration.bases_place import ASKED, Place, Tenant, place_over, shortened, tenant_of_both

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.asyncio(loop_scope="module")]

Engines = Mapping[str, RunningEngine]
"""By the name of the base model."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engines(
    engine: RunningEngine, base_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Engines]:
    short = shortened(base_model, tmp_path_factory.mktemp("models") / "short")
    starting = serving.engine(short)
    running = await asyncio.to_thread(starting.__enter__)
    try:
        yield {"base": engine, "short": running}
    finally:
        await asyncio.to_thread(starting.__exit__, None, None, None)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(engines: Engines, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    base, short = engines["base"], engines["short"]
    directory = tmp_path_factory.mktemp("place")
    async with place_over(directory, base.model, short.model, base.url, short.url, base.token) as made:
        yield made
        for replica in made.control.engines:
            for version in await replica.resident():
                await replica.unload(version)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def acme(place: Place, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Tenant]:
    """With both versions swapped in."""
    async with tenant_of_both(place, tmp_path_factory.mktemp("acme")) as made:
        for adapter, version in made.versions.items():
            path = f"/tenants/{made.id}/adapters/{adapter}"
            await place.call("POST", f"{path}/versions/{version}/approve")
            await place.call("PUT", f"{path}/aliases/stable", {"version": version})
        yield made


async def said(running: RunningEngine) -> str:
    """What an engine's base model says by itself."""
    async with httpx.AsyncClient(trust_env=False) as http:
        replica = VllmEngine(running.url, running.token, http)
        return (await replica.chat("base", ASKED["messages"], ASKED["max_tokens"])).texts[0]


async def test_an_adapter_of_each_base_model_answers_from_its_own_engine(
    engines: Engines, acme: Tenant
) -> None:
    answers = {name: await acme.ask(name) for name in ("base", "short", "default", "small")}
    labels = {name: label for name, (label, _) in answers.items()}
    assert labels == {"base": "base", "short": "short", "default": "default@v1", "small": "small@v1"}
    assert {name: answers[name][1] for name in ("base", "short")} == {
        name: await said(engines[name]) for name in ("base", "short")
    }
    assert len({text for _, text in answers.values()}) == 4


async def test_no_version_ever_came_to_an_engine_of_the_other_base_model(
    engines: Engines, place: Place, acme: Tenant
) -> None:
    """Asked for and waited for as they may be: by what each engine holds, and by all that it has ever written about."""
    versions = list(acme.versions.values())
    for _ in range(2):
        await place.control.reconciler.run_once(dict.fromkeys(versions, 5000.0), versions)
    replicas = (await place.call("GET", "/replicas"))["data"]
    assert {replica["base"]: replica["resident"] for replica in replicas} == {
        "base": [acme.versions["default"]],
        "short": [acme.versions["small"]],
    }
    logs = {name: running.log.read_text(errors="replace") for name, running in engines.items()}
    for adapter, base, other in (("default", "base", "short"), ("small", "short", "base")):
        assert acme.versions[adapter] in logs[base]
        assert acme.versions[adapter] not in logs[other]
