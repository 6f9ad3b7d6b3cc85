"""The proxy against an upstream of our own, over real sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager

import pytest

from gateway import engine_connection, engine_http
from gateway import proxy as proxy_module
from gateway.engine_connection import EngineHttpError
from gateway.errors import EngineUnavailable, InvalidRequest, Timeout
from gateway.leases import Leases
from gateway.proxy import Call, Proxy
from gateway.replicas import FAILURES_TO_OPEN, Replicas
from gateway.routing import Route
from tests.unit.gateway.accounting import slots
from tests.unit.gateway.pouring import first
from tests.unit.gateway.stub_engine import StubEngine, served, unused_url
from tests.waiting import until

BASE = Route("default", None, "base", "stable")
VERSION = Route("default", "ver_1", "default@v1", "stable")
BODY = b'{"model": "ver_1"}'
CHAT = "/v1/chat/completions"
STREAM = b'{"model": "ver_1", "stream": true}'


def call_of(route: Route, body: bytes) -> Call:
    return Call(route, body, "abc", CHAT, lambda attempt: [f"chatcmpl-{attempt}"])


@asynccontextmanager
async def proxied(*urls: str, timeout_s: float = 5.0) -> AsyncIterator[Proxy]:
    proxy = Proxy(Replicas({"base": urls}), slots(urls), Leases(), "token", timeout_s)
    yield proxy
    await proxy.close()


async def test_an_answer_comes_back_with_its_status() -> None:
    stub = StubEngine()
    async with served(stub) as url, proxied(url) as proxy:
        reply = await proxy.answer(call_of(VERSION, BODY))
    assert (reply.status, stub.headers[0]["authorization"]) == (200, "Bearer token")
    assert stub.headers[0]["x-request-id"] == "abc"


async def test_an_unreachable_replica_is_retried_on_another() -> None:
    stub = StubEngine()
    async with served(stub) as url, proxied(unused_url(), url, unused_url()) as proxy:
        calls = [call_of(Route("d", f"ver_{n}", "d@v1", "stable"), BODY) for n in range(8)]
        for call in calls:
            assert (await proxy.answer(call)).status == 200
    assert sum(call.retries for call in calls) > 0


async def test_an_engine_that_comes_back_at_once_loses_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_module, "BACKOFF_S", 0.001)
    stub, call = StubEngine(), call_of(VERSION, BODY)
    async with served(stub) as url, proxied(unused_url(), url) as proxy:
        await proxy.answer(call)
    assert stub.headers[-1]["x-request-id"] == call.attempt_id


async def test_no_replica_at_all_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_module, "BACKOFF_S", 0.001)
    async with proxied(unused_url()) as proxy:
        with pytest.raises(EngineUnavailable) as error:
            await proxy.answer(call_of(VERSION, BODY))
    assert error.value.retry_after_s == 1.0


async def test_a_silent_engine_times_out() -> None:
    async with served(StubEngine(hold=asyncio.Event())) as url, proxied(url, timeout_s=0.2) as proxy:
        with pytest.raises(Timeout):
            await proxy.answer(call_of(VERSION, BODY))


async def test_an_answer_that_is_too_long_is_asked_for_once_and_nobodys_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine_connection, "ANSWER_BYTES", 5)
    stub = StubEngine()
    async with served(stub) as url, proxied(url) as proxy:
        for _ in range(2 * FAILURES_TO_OPEN):
            with pytest.raises(InvalidRequest):
                await proxy.answer(call_of(VERSION, BODY))
        monkeypatch.undo()
        assert (await proxy.answer(call_of(VERSION, BODY))).status == 200
    assert len(stub.headers) == 2 * FAILURES_TO_OPEN + 1


async def test_a_version_that_is_being_loaded_is_waited_for() -> None:
    stub = StubEngine(resident=set())
    async with served(stub) as url, proxied(url) as proxy:
        call = call_of(VERSION, BODY)
        waiting = asyncio.create_task(proxy.answer(call))
        await until(lambda: len(stub.asked) >= 2)
        stub.resident = {"ver_1"}
        assert (await waiting).status == 200
    assert call.retries >= 1


async def test_a_missing_base_model_is_not_waited_for() -> None:
    async with served(StubEngine(resident=set())) as url, proxied(url) as proxy:
        assert (await proxy.answer(call_of(BASE, b'{"model": "base"}'))).status == 404


async def test_cancelling_an_answer_cancels_the_engines_work() -> None:
    stub = StubEngine(hold=asyncio.Event())
    async with served(stub) as url, proxied(url) as proxy:
        task = asyncio.create_task(proxy.answer(call_of(VERSION, BODY)))
        await until(lambda: stub.waiting == 1)
        task.cancel()
        await until(lambda: stub.aborted == ["chatcmpl-abc"])


async def test_leaving_a_stream_ends_the_engines_work() -> None:
    stub = StubEngine(hold=asyncio.Event())
    async with served(stub) as url, proxied(url) as proxy:
        async with proxy.stream(call_of(VERSION, STREAM)) as response:
            await first(response)
        await until(lambda: stub.left == 1)


async def test_a_streams_first_event_does_not_wait_for_the_second() -> None:
    stub, call = StubEngine(hold=asyncio.Event()), call_of(VERSION, STREAM)
    async with served(stub) as url, proxied(url) as proxy, proxy.stream(call) as response:
        assert b"assistant" in await first(response)
        assert not stub.hold.is_set()


async def test_a_stream_arrives_whole() -> None:
    call = call_of(VERSION, STREAM)
    async with served(StubEngine()) as url, proxied(url) as proxy, proxy.stream(call) as response:
        body = await response.read()
    assert body.endswith(b"data: [DONE]\n\n")


async def test_a_stream_that_breaks_off_raises() -> None:
    async with served(StubEngine(break_after=2)) as url, proxied(url) as proxy:
        with pytest.raises(EngineHttpError):
            async with proxy.stream(call_of(VERSION, STREAM)) as response:
                await response.read()


async def test_health_is_told_per_replica() -> None:
    async with served(StubEngine()) as url, proxied(url, unused_url()) as proxy:
        assert await proxy.healthy() == [True, False]


@pytest.mark.parametrize("status", [502, 503])
async def test_a_replica_that_cannot_answer_is_left_for_another(status: int) -> None:
    bad, good = StubEngine(status=status), StubEngine()
    async with served(bad) as first, served(good) as second, proxied(first, second) as proxy:
        routes = [Route("d", f"ver_{number}", "d@v1", "stable") for number in range(40)]
        replies = [await proxy.answer(call_of(route, BODY)) for route in routes]
    assert {reply.status for reply in replies} == {200}
    assert 0 < len(bad.asked) <= FAILURES_TO_OPEN


async def test_what_an_engine_could_not_do_is_not_tried_elsewhere() -> None:
    first, second = StubEngine(status=500), StubEngine(status=500)
    async with served(first) as one, served(second) as two, proxied(one, two) as proxy:
        assert (await proxy.answer(call_of(VERSION, BODY))).status == 500
    assert len(first.asked) + len(second.asked) == 1


async def test_retries_are_a_part_of_all_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_module, "BACKOFF_S", 0.0)
    monkeypatch.setattr(proxy_module.RetryBudget, "most", 10.0)
    calls = [call_of(BASE, BODY) for _ in range(50)]
    async with proxied(unused_url()) as proxy:
        for call in calls:
            with pytest.raises(EngineUnavailable):
                await proxy.answer(call)
    assert sum(call.retries for call in calls) <= 10 + 50 * proxy_module.RetryBudget.share


async def test_a_replica_that_cannot_be_connected_to_is_left_for_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine_http, "CONNECT_TIMEOUT_S", 0.1)
    with full_listener() as silent:
        async with served(StubEngine()) as url, proxied(silent, url) as proxy:
            routes = [Route("d", f"ver_{number}", "d@v1", "stable") for number in range(8)]
            assert {(await proxy.answer(call_of(route, BODY))).status for route in routes} == {200}


@contextmanager
def full_listener() -> Iterator[str]:
    """An address that takes no further connection and refuses none."""
    with ExitStack() as held:
        listener = held.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            waiting = held.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


async def broken(proxy: Proxy, *ends_well: bool) -> None:
    """Streams one after the other."""
    for well in ends_well:
        call = call_of(VERSION, STREAM)
        async with proxy.stream(call) as answer:
            await first(answer)
            (proxy.ended if well else proxy.broke_off)(call)


async def test_streams_that_break_off_one_after_the_other_open_the_breaker() -> None:
    async with served(StubEngine()) as one, served(StubEngine()) as two:
        replicas = Replicas({"base": [one, two]})
        proxy = Proxy(replicas, slots([one, two]), Leases(), "token", 5.0)
        first = replicas.pick("base", VERSION.engine_model)
        await broken(proxy, False, False, True, False, False)
        assert replicas.pick("base", VERSION.engine_model) is first
        await broken(proxy, False)
        assert replicas.pick("base", VERSION.engine_model) is not first
        await proxy.close()


async def test_a_stream_that_broke_off_counts_against_its_replica() -> None:
    replicas = Replicas({"base": ["http://a", "http://b"]})
    proxy = Proxy(replicas, slots(["http://a", "http://b"]), Leases(), "token", 5.0)
    call = call_of(VERSION, STREAM)
    call.replica = replicas.pick("base", VERSION.engine_model)
    for _ in range(FAILURES_TO_OPEN):
        proxy.broke_off(call)
    assert replicas.pick("base", VERSION.engine_model) is not call.replica
    await proxy.close()
