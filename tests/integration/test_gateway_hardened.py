"""What clients and engines do wrong takes no worker down, leaks no lease, and crosses no tenants. The worker is a
process of its own; the engine goes wrong on request."""

import asyncio
import random
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
import pytest_asyncio
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import content_type_conformance, response_schema_conformance

from adapters.types import Alias, Lineage, VersionStatus
from gateway.policy import Policy
from tests.integration.gateway_house import BASE_DIGEST, Customer, House, house
from tests.integration.gateway_worker import Worker, raw, worker
from tests.integration.rough_engine import SECRET, STREAMED, WHOLE, RoughEngine, rough_engine
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

PATIENCE_S = 0.5
MESSAGES = [{"role": "user", "content": "Hello?"}]
ASKED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": MESSAGES},
    "/v1/completions": {"prompt": "Hello?"},
    "/v1/responses": {"input": "Hello?"},
}
POLICY = Policy.model_validate(
    {"retrieval": {"enabled": False}, "memory": {"enabled": False}, "limits": {"concurrency": 4}}
)
"""Two lost leases out of four would show."""
REACHES = {"model": "default", "user": "well"}
"""What lets a request come as far as the engine."""
each_endpoint = pytest.mark.parametrize("path", ASKED)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine() -> AsyncIterator[RoughEngine]:
    async with rough_engine() as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def started(engine: RoughEngine, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Worker]:
    directory = tmp_path_factory.mktemp("house")
    told = {"client_patience_seconds": str(PATIENCE_S), "engine_timeout_seconds": "1"}
    async with house(directory, engine.url, "internal") as built, worker(built, **told) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def acme(started: Worker, engine: RoughEngine) -> AsyncIterator[Customer]:
    """A tenant with a version; afterwards the worker is as it was before."""
    async with started.house.customer("acme") as customer:
        await equip(started.house, customer)
        yield customer
        engine.way = "well"
        await started.idle()
        answers = await asyncio.gather(*(ask(customer, "/v1/completions") for _ in range(4)))
        assert [answer.status_code for answer in answers] == [200] * 4


async def equip(built: House, customer: Customer) -> None:
    version = await built.registry.register(customer.id, "default", "sha256:a", Lineage(BASE_DIGEST), {})
    await built.registry.set_status(version.id, VersionStatus.APPROVED)
    await built.registry.move_alias(customer.id, "default", Alias.STABLE, version.id, "test")
    _, change = await built.tenants.put_policy(customer.id, POLICY, "test")
    await built.applied(change)


async def ask(customer: Customer, path: str, **more: Any) -> httpx.Response:
    return await customer.client.post(path, json={"model": "default", **ASKED[path], **more})


def request_bytes(customer: Customer, body: bytes, path: str = "/v1/completions", **headers: str) -> bytes:
    key = customer.client.headers["authorization"]
    given = {"host": "x", "authorization": key, "content-length": str(len(body)), **headers}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def is_openais(response: httpx.Response) -> bool:
    error = response.json()["error"]
    return set(error) == {"message", "type", "param", "code"} and isinstance(error["message"], str)


# -- engines


@each_endpoint
@pytest.mark.parametrize("way", WHOLE)
async def test_an_engine_that_goes_wrong_is_503_and_says_nothing(acme: Customer, path: str, way: str) -> None:
    response = await ask(acme, path, user=way)
    assert (response.status_code, response.json()["error"]["code"]) == (503, "engine_unavailable")
    assert is_openais(response) and SECRET not in response.text


@each_endpoint
@pytest.mark.parametrize("way", STREAMED)
async def test_a_stream_that_goes_wrong_ends_with_an_error(acme: Customer, path: str, way: str) -> None:
    response = await ask(acme, path, user=way, stream=True)
    last = response.text.strip().rsplit("\n", 1)[-1]
    assert '"code":"engine_unavailable"' in last and SECRET not in response.text
    assert response.status_code == (503 if response.headers["content-type"] == "application/json" else 200)


@each_endpoint
@pytest.mark.parametrize("stream", [False, True])
async def test_an_engine_that_is_silent_is_given_up(acme: Customer, path: str, stream: bool) -> None:
    response = await ask(acme, path, user="silent", stream=stream)
    assert (response.status_code, response.json()["error"]["code"]) == (504, "timeout")


async def test_two_tenants_amid_failures_get_only_their_own_answers(started: Worker, acme: Customer) -> None:
    chosen = random.Random(5)
    ways = ["well", "well", "well", *STREAMED]

    async def one(customer: Customer) -> tuple[str, str]:
        path, stream = chosen.choice(list(ASKED)), chosen.random() < 0.5
        response = await ask(customer, path, user=chosen.choice(ways), stream=stream)
        return customer.id, response.text

    async with started.house.customer("globex") as globex:
        await equip(started.house, globex)
        answers = [
            answer
            for _ in range(30)
            for answer in await asyncio.gather(*(one(each) for each in (acme, globex) for _ in range(4)))
        ]
        salts = {
            each.id: (await ask(each, "/v1/completions")).json()["choices"][0]["text"]
            for each in (acme, globex)
        }
    other = {acme.id: salts[globex.id], globex.id: salts[acme.id]}
    assert sum(salts[tenant] in text for tenant, text in answers) > 20
    assert not any(other[tenant] in text for tenant, text in answers)


# -- clients


async def test_a_client_that_does_not_finish_its_request_is_cut_off(started: Worker, acme: Customer) -> None:
    whole = request_bytes(acme, b'{"model": "default"}')
    for part in (b"", whole[:20], whole[:-5]):
        assert await asyncio.to_thread(raw, started.address, part) == b""


async def test_a_client_that_drips_is_cut_off(started: Worker, acme: Customer) -> None:
    reader, writer = await asyncio.open_connection(*started.address)
    writer.write(request_bytes(acme, b"")[:-2])

    async def drip() -> None:
        with suppress(ConnectionError):
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.02)

    dripping = asyncio.create_task(drip())
    async with asyncio.timeout(10):
        with suppress(ConnectionError):
            assert await reader.read() == b""
    dripping.cancel()
    writer.close()


async def test_a_client_that_does_not_read_its_stream_is_cut_off(
    started: Worker, acme: Customer, engine: RoughEngine
) -> None:
    body = b'{"model": "default", "prompt": "Hello?", "stream": true, "user": "endless"}'
    before = engine.left
    with socket.create_connection(started.address) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(request_bytes(acme, body))
        await until(lambda: _is(engine.left > before))


async def test_half_a_connection_is_none(started: Worker, acme: Customer, engine: RoughEngine) -> None:
    before = engine.left
    body = b'{"model": "default", "prompt": "Hello?", "user": "endless", "stream": true}'
    with socket.create_connection(started.address) as connection:
        connection.sendall(request_bytes(acme, body))
        assert await asyncio.to_thread(connection.recv, 12) == b"HTTP/1.1 200"
        connection.shutdown(socket.SHUT_WR)
        await until(lambda: _is(engine.left > before))


async def test_a_thousand_slow_clients_do_not_keep_others_waiting(started: Worker, acme: Customer) -> None:
    opened = [await asyncio.open_connection(*started.address) for _ in range(1000)]
    for _, writer in opened:
        writer.write(b"POST /v1/completions HTTP/1.1\r\n")
    assert (await ask(acme, "/v1/completions")).status_code == 200
    for _, writer in opened:
        writer.close()


async def test_five_thousand_connections_leave_nothing_behind(started: Worker, acme: Customer) -> None:
    whole = request_bytes(acme, b'{"model": "default", "prompt": "Hello?"}')
    starts = b"", whole[:40], whole[:-3], whole
    descriptors, memory = started.process.num_fds(), started.process.memory_info().rss
    reset = struct.pack("ii", 1, 0)
    for number in range(10):
        opened = [socket.create_connection(started.address) for _ in range(500)]
        for index, connection in enumerate(opened):
            connection.sendall(starts[index % 4])
            if index % 2 == number % 2:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            connection.close()
        await asyncio.sleep(0)
    await until(lambda: _is(started.process.num_fds() <= descriptors + 8))
    assert started.process.memory_info().rss < memory + 150 * 2**20


async def test_a_head_without_end_is_refused(started: Worker, acme: Customer) -> None:
    parts = [b"GET /v1/models HTTP/1.1\r\nx: ", *[b"y" * 50_000] * 100]
    before = started.process.memory_info().rss
    answer = await asyncio.to_thread(raw, started.address, *parts)
    assert (
        answer == b"" or b"headers_too_large" in answer
    )  # what was sent meanwhile may have cut the answer off
    assert started.process.memory_info().rss < before + 50 * 2**20


async def test_trailers_without_end_are_refused(started: Worker, acme: Customer) -> None:
    head = request_bytes(acme, b"")[:-4].replace(b"content-length: 0", b"transfer-encoding: chunked")
    trailers = [b"x-%d: %s\r\n" % (number, b"y" * 1000) for number in range(3000)]
    before = started.process.memory_info().rss
    await asyncio.to_thread(raw, started.address, head + b"\r\n\r\n2\r\n{}\r\n0\r\n", *trailers)
    assert started.process.memory_info().rss < before + 50 * 2**20


@pytest.mark.parametrize("host", ["a/b", "[", "x?y", "user@x", "x:y", "x#"])
async def test_a_host_that_is_none_is_refused(started: Worker, acme: Customer, host: str) -> None:
    for path in ("/v1/models", "/nowhere", "/v1/chat/completions"):
        response = await acme.client.get(path, headers={"host": host})
        assert (response.status_code, response.json()["error"]["param"]) == (400, "Host")


# -- anything


@pytest.mark.parametrize("mode", GenerationMode)
async def test_requests_by_our_own_description_and_against_it_never_fail_unforeseen(
    started: Worker, acme: Customer, mode: GenerationMode
) -> None:
    schema = schemathesis.openapi.from_dict((await acme.client.get("/openapi.json")).json())
    assert schema.statistic.operations.total > 15
    key = acme.client.headers["authorization"]
    keys = st.sampled_from([key, key, key, key, key[:-1] + "!", "Bearer x", ""])

    @settings(max_examples=300, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=schema.as_strategy(generation_mode=mode), key=keys, usual=st.booleans())
    def holds(case: schemathesis.Case, key: str, usual: bool) -> None:
        if usual and isinstance(case.body, dict):
            case.body |= {name: value for name, value in REACHES.items() if name in case.body}
        response = case.call(base_url=started.url, headers={"authorization": key}, timeout=20)
        assert response.status_code < 500 or response.status_code == 503
        case.validate_response(response, checks=[response_schema_conformance, content_type_conformance])

    await asyncio.to_thread(holds)


async def test_any_bytes_get_an_answer_or_none(started: Worker, acme: Customer) -> None:
    right = request_bytes(acme, b'{"model": "default", "prompt": "Hello?"}')
    chosen = random.Random(7)

    def mangled() -> bytes:
        data = bytearray(right)
        for _ in range(chosen.randint(1, 8)):
            at = chosen.randrange(len(data))
            match chosen.randrange(3):
                case 0:
                    data[at] = chosen.randrange(256)
                case 1:
                    del data[at : at + chosen.randint(1, 20)]
                case 2:
                    data[at:at] = chosen.choice([b"\r\n", b"\0", b": ", b"\xff" * 9, b"0" * 40, b"\r\n\r\n"])
            data = data or bytearray(b"x")
        return bytes(data)

    async def one() -> bytes:
        async with asyncio.timeout(20):
            reader, writer = await asyncio.open_connection(*started.address)
            try:
                writer.write(mangled())
                return await reader.readuntil(b"}}")
            except asyncio.IncompleteReadError as error:
                return error.partial
            except ConnectionError:
                return b""
            finally:
                writer.close()

    answers = [answer for _ in range(20) for answer in await asyncio.gather(*(one() for _ in range(25)))]
    statuses = {answer.split(b" ", 2)[1] for answer in answers if answer}
    assert b"500" not in statuses and len(statuses) > 1
    assert all(b'"error"' in answer for answer in answers if b" 400 " in answer[:20])


async def test_nothing_was_logged_as_unforeseen(started: Worker) -> None:
    text = started.log.read_text()
    assert "Traceback" not in text and "Exception in ASGI" not in text


async def _is(value: bool) -> bool:
    return value
