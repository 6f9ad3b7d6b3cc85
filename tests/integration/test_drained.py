"""A replica taken out of service under load, ended, started again and put back."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from click.testing import Result
from typer.testing import CliRunner

from adapters.types import DEFAULT_ADAPTER
from gateway.cli.main import app
from tests.integration.light_town import ask, calls, light_town, tenant
from tests.integration.town import Town
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

OTHER = "support"
MODELS = ("base", DEFAULT_ADAPTER, OTHER)
LONG_S = 3
PER_MODEL = 8


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    async with light_town(tmp_path_factory.mktemp("town"), base_model) as made:
        yield made


async def run(place: Town, *arguments: str) -> Result:
    told = ["--admin-url", place.plan.admin_url, "--admin-key", place.plan.admin_key]
    told += ["--data-dir", str(place.plan.data_dir / "nothing")]
    return await asyncio.to_thread(CliRunner().invoke, app, [*told, *arguments])


async def graft(place: Town, *arguments: str) -> Result:
    return await run(place, "--json", "replicas", *arguments)


async def shown(place: Town, url: str) -> dict[str, Any]:
    result = await graft(place, "list")
    found: dict[str, Any] = next(row for row in json.loads(result.output) if row["id"] == url)
    return found


async def asked(place: Town, url: str) -> int:
    """Requests that this replica has had."""
    return sum(count for name, count in (await calls(place))[url].items() if name.startswith("POST"))


@asynccontextmanager
async def load(place: Town, key: str) -> AsyncIterator[list[int]]:
    """Requests of all kinds without a pause; the statuses of those that were answered."""
    statuses: list[int] = []

    async def keep_asking(model: str) -> None:
        async with httpx.AsyncClient(base_url=place.plan.gateway_url, trust_env=False, timeout=60) as http:
            while True:
                statuses.append((await ask(http, key, model)).status_code)

    tasks = [asyncio.create_task(keep_asking(model)) for model in MODELS for _ in range(2)]
    yield statuses
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def more(statuses: list[int], count: int = 200) -> None:
    wanted = len(statuses) + count
    await until(lambda: len(statuses) >= wanted)


async def test_a_drained_replica_is_ended_without_a_request_noticing(place: Town) -> None:
    _, key = await tenant(place, "acme", (DEFAULT_ADAPTER, OTHER))
    url, other = place.plan.engine_urls
    async with (
        load(place, key) as statuses,
        httpx.AsyncClient(base_url=place.plan.gateway_url, trust_env=False, timeout=60) as http,
    ):
        await more(statuses)
        assert await asked(place, url) and await asked(place, other)
        long = [
            asyncio.create_task(ask(http, key, model, seed=LONG_S))
            for model in MODELS
            for _ in range(PER_MODEL)
        ]

        async def under_way() -> bool:
            return (await shown(place, url))["in_flight"] >= PER_MODEL // 2

        await until(under_way)
        begun = await graft(place, "drain", url, "--no-wait")
        assert json.loads(begun.output)["drain"] == "draining"
        assert not any(task.done() for task in long)
        done = await graft(place, "drain", url)
        assert (done.exit_code, json.loads(done.output)["drain"]) == (0, "drained"), done.output
        assert {(await task).status_code for task in long} == {200}
        before = await asked(place, url)
        await more(statuses)
        assert await asked(place, url) == before
        place.kill("engine-1")
        await more(statuses)
        await place.start("engine-1")
        await more(statuses)
        assert ((await shown(place, url))["drain"], await asked(place, url)) == ("drained", 0)
        assert json.loads((await graft(place, "return", url)).output)["drain"] is None

        async def back() -> bool:
            return await asked(place, url) > 0

        await until(back)
    assert set(statuses) == {200}


async def test_the_last_replica_that_takes_requests_stays(place: Town) -> None:
    url, other = place.plan.engine_urls
    assert (await graft(place, "drain", url)).exit_code == 0
    assert "drained" in (await run(place, "status")).output
    refused = await graft(place, "drain", other)
    assert "No other replica" in str(refused.exception)
    unknown = await graft(place, "drain", "http://nowhere")
    assert "There is no replica http://nowhere" in str(unknown.exception)
    assert (await graft(place, "return", url)).exit_code == 0
