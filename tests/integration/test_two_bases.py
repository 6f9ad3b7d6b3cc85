"""Two base models behind one gateway: what belongs to which, and who is told of them. No engine is asked."""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.integration.bases_place import (
    ASKED,
    Place,
    Tenant,
    client_of,
    place_over,
    shortened,
    tenant_of_both,
)
from tests.integration.random_adapters import packed, write_adapter
from training.types import LEARNER_OF

pytestmark = pytest.mark.asyncio(loop_scope="module")

ENGINE, SHORT_ENGINE = "http://127.0.0.1:9", "http://127.0.0.1:19"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    directory = tmp_path_factory.mktemp("place")
    short = shortened(base_model, directory / "short")
    async with place_over(directory, base_model, short, ENGINE, SHORT_ENGINE, "internal") as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def acme(place: Place, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Tenant]:
    async with tenant_of_both(place, tmp_path_factory.mktemp("acme")) as made:
        yield made


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
    refused = await acme.import_into("small", packed(files), 400)
    assert refused["error"]["type"] == "invalid_request_error"


async def test_an_adapter_stays_with_its_base_model(place: Place, acme: Tenant) -> None:
    adapters = f"/tenants/{acme.id}/adapters"
    await place.call("POST", adapters, {"name": "small"}, 409)
    await place.call("POST", adapters, {"name": "other", "base": "huge"}, 404)
    await place.call("POST", adapters, {"name": "short", "base": "short"}, 400)


async def test_versions_of_two_base_models_are_neither_merged_nor_compared(
    place: Place, acme: Tenant
) -> None:
    path, other = f"/tenants/{acme.id}/adapters/default", "small@v1"
    await place.call("POST", f"{path}/merges", {"sources": [{"version": "v1"}, {"version": other}]}, 409)
    await place.call("GET", f"{path}/versions/v1/similarity", status=409, params={"to": other})


async def test_a_run_that_no_learner_could_take_is_refused_with_the_reason(
    place: Place, acme: Tenant
) -> None:
    body = {"tenant_id": acme.id, "adapter": "small"}
    refused = await place.call("POST", "/runs", body, 409)
    assert "No learner holds 'short'" in refused["error"]["message"]
    await place.call("POST", "/runs", {**body, "adapter": "default"}, 201)
    alive = LEARNER_OF.format(digest=place.base("short").digest)
    await place.control.redis.set(alive, "a learner", px=60_000)
    await place.call("POST", "/runs", body, 201)
