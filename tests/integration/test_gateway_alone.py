"""One worker: what its generation path asks for, and where it alone answers."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from gateway.policy import Policy
from tests.integration.gateway_house import House, house
from tests.integration.gateway_worker import worker
from tests.integration.rough_engine import rough_engine
from tests.unit.gateway.stub_engine import unused_url

QUIET = Policy.model_validate({"retrieval": {"enabled": False}, "memory": {"enabled": False}})


@pytest_asyncio.fixture
async def built(tmp_path: Path) -> AsyncIterator[House]:
    async with rough_engine() as engine, house(tmp_path, engine.url, "internal", searching=False) as made:
        yield made


@contextmanager
def statements_of_requests() -> Iterator[list[str]]:
    """SQL that was executed in the task of a request, while what follows the record goes on beside it."""
    found: list[str] = []

    def note(*about: object) -> None:
        task = asyncio.current_task()
        if task is not None and getattr(task.get_coro(), "__name__", "") == "run_asgi":
            found.append(str(about[2]))

    sa.event.listen(Engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        sa.event.remove(Engine, "before_cursor_execute", note)


@pytest.mark.parametrize("stream", [False, True])
async def test_nothing_on_the_chat_path_waits_on_sql(built: House, stream: bool) -> None:
    async with built.customer("acme") as acme:
        _, change = await built.tenants.put_policy(acme.id, QUIET, "test")
        await built.applied(change)
        with statements_of_requests() as statements:
            answers = [await acme.ask("Hello?", stream=stream) for _ in range(3)]
            assert [answer.status_code for answer in answers] == [200] * 3
            assert statements == []
            assert (await acme.client.get("/v1/responses/resp_none")).status_code == 404
            assert statements != [], "a response that was kept is looked for in the record"


@pytest.mark.slow
async def test_a_worker_answers_at_a_port_of_its_own_too(built: House) -> None:
    own = unused_url()
    async with worker(built, "--own-port", own.rpartition(":")[2]) as started, httpx.AsyncClient() as client:
        for url in (own, started.url):
            answer = await client.get(f"{url}/metrics")
            assert (answer.status_code, "graft_inflight" in answer.text) == (200, True)
        started.process.terminate()
        assert await asyncio.to_thread(started.process.wait, 10) == 0
        with pytest.raises(httpx.ConnectError):
            await client.get(f"{own}/metrics")
