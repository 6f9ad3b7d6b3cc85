"""Replicas that no longer answer, found out before a request waits for them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway import lookout as lookout_module
from gateway import proxy as proxy_module
from gateway.leases import Leases
from gateway.lookout import Lookout
from gateway.proxy import Proxy
from gateway.replicas import FAILURES_TO_OPEN, Replicas
from tests.unit.gateway.accounting import slots
from tests.unit.gateway.stub_engine import StubEngine, served
from tests.waiting import until

VERSIONS = [f"ver_{number}" for number in range(20)]


@asynccontextmanager
async def standing_still() -> AsyncIterator[str]:
    """It takes connections and says nothing."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def looking(replicas: Replicas) -> AsyncIterator[None]:
    proxy = Proxy(replicas, slots(replicas.urls), Leases(), "token", 600.0)
    lookout = Lookout(replicas, proxy.well)
    lookout.start()
    yield
    await lookout.close()
    await proxy.close()


async def test_nothing_goes_to_a_replica_that_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_module, "QUICK_S", 0.05)
    monkeypatch.setattr(lookout_module, "LOOK_EVERY_S", 0.01)
    async with standing_still() as still, served(StubEngine()) as url:
        replicas = Replicas({"base": [still, url]})
        assert {replicas.pick("base", name).url for name in VERSIONS} == {still, url}
        async with looking(replicas):
            await until(lambda: {replicas.pick("base", name).url for name in VERSIONS} == {url})


async def test_a_replica_without_others_is_not_asked_for_its_health() -> None:
    asked: list[str] = []

    async def well(url: str) -> bool:
        asked.append(url)
        return True

    lookout = Lookout(Replicas({"base": ["http://a", "http://b"], "large": ["http://c"]}), well)
    lookout.start()
    await until(lambda: len(asked) >= 2)
    await lookout.close()
    assert set(asked) == {"http://a", "http://b"}


async def test_to_say_that_one_is_well_closes_no_breaker() -> None:
    replicas = Replicas({"base": ["http://a", "http://b"]}, clock=lambda: 0.0)
    first = replicas.pick("base", "ver_1")
    for _ in range(FAILURES_TO_OPEN):
        replicas.failed(first)
    await Lookout(replicas, lambda _: asyncio.sleep(0, True)).look(first)
    assert replicas.pick("base", "ver_1") is not first
