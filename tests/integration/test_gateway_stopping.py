"""A worker that is told to stop, and what it says of its own time. The worker is a process of its own."""

import asyncio
import gzip
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from redis.asyncio import Redis

from gateway.policy import Policy
from tests.integration.gateway_house import Customer, House, house
from tests.integration.gateway_worker import Worker, worker
from tests.integration.rough_engine import SLOW_S, rough_engine
from tests.unit.gateway.stub_engine import StubEngine, served
from tests.waiting import until

pytestmark = pytest.mark.slow

POLICY = Policy.model_validate({"retrieval": {"enabled": False}, "memory": {"enabled": False}})
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@asynccontextmanager
async def serving(directory: Path, engine_url: str, **told: str) -> AsyncIterator[tuple[Worker, Customer]]:
    async with (
        house(directory, engine_url, "internal", searching=False) as built,
        worker(built, **told) as started,
        started.house.customer("acme") as acme,
    ):
        await without_retrieval(started.house, acme)
        yield started, acme


async def without_retrieval(built: House, customer: Customer) -> None:
    _, change = await built.tenants.put_policy(customer.id, POLICY, "test")
    await built.applied(change)


async def refuses(started: Worker) -> bool:
    try:
        _, writer = await asyncio.open_connection(*started.address)
    except ConnectionRefusedError:
        return True
    writer.close()
    return False


async def ended(started: Worker, within_s: float) -> int | None:
    return await asyncio.to_thread(started.process.wait, within_s)


async def test_what_runs_is_finished_and_new_is_refused(tmp_path: Path) -> None:
    stub = StubEngine(hold=asyncio.Event())
    async with served(stub) as url, serving(tmp_path, url) as (started, acme):
        waiting = asyncio.gather(acme.ask("Hello?"), acme.ask("Hello?", stream=True))
        await until(lambda: _is(stub.waiting == 2))
        started.process.terminate()
        await until(lambda: refuses(started))
        assert stub.hold is not None
        stub.hold.set()
        whole, streamed = await waiting
        assert whole.status_code == 200 and streamed.text.endswith("data: [DONE]\n\n")
        assert await ended(started, 10) == 0


async def test_who_waits_for_a_turn_gets_it_before_the_worker_ends(tmp_path: Path) -> None:
    stub = StubEngine(hold=asyncio.Event())
    async with served(stub) as url, serving(tmp_path, url, engine_slots="1") as (started, acme):
        waiting = asyncio.gather(*(acme.ask("Hello?", stream=stream) for stream in (True, False, True)))
        await until(lambda: _is(stub.waiting == 1))
        await until(lambda: _inflight(acme, 3))
        started.process.terminate()
        await until(lambda: refuses(started))
        assert stub.hold is not None
        stub.hold.set()
        assert [answer.status_code for answer in await waiting] == [200] * 3
        assert await ended(started, 10) == 0


async def test_what_does_not_finish_in_time_is_told_why(tmp_path: Path) -> None:
    stub = StubEngine(hold=asyncio.Event())
    told = {"drain_seconds": "1", "engine_slots": "4"}  # half of them are this worker's
    async with served(stub) as url, serving(tmp_path, url, **told) as (started, acme):
        waiting = asyncio.gather(acme.ask("Hello?"), acme.ask("Hello?", stream=True))
        await until(lambda: _is(stub.waiting == 2))
        queued = asyncio.create_task(acme.ask("Hello?"))
        await until(lambda: _inflight(acme, 3))
        started.process.terminate()
        whole, streamed = await waiting
        for answer in (whole, await queued):
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert '"code":"service_unavailable"' in streamed.text.strip().rsplit("\n", 1)[-1]
        assert await ended(started, 10) == 0
        assert "Traceback" not in started.log.read_text()
        stub.hold = None


async def test_a_redis_that_stands_still_holds_up_neither_requests_nor_the_end(tmp_path: Path) -> None:
    """What a worker has left of its half minute, when its last request took all the time that it was given."""
    async with served(StubEngine()) as url, serving(tmp_path, url) as (started, acme):
        assert (await acme.ask("Hello?")).status_code == 200
        async with Redis.from_url(started.house.settings.redis_url) as redis:
            server = (await redis.info("server"))["process_id"]
        os.kill(server, signal.SIGSTOP)
        try:
            began = time.monotonic()
            answered = await acme.ask("Hello?")
            assert (answered.status_code, time.monotonic() - began < 1.0) == (200, True)
            told = time.monotonic()
            started.process.terminate()
            assert await ended(started, 20) == 0
            assert time.monotonic() - told < 30 - 25
        finally:
            os.kill(server, signal.SIGCONT)


async def test_the_overhead_is_what_an_outside_clock_says(tmp_path: Path) -> None:
    """Never more than was there; and the wait for a turn is in it. What the engine's side is late by is not."""

    async def timed(acme: Customer) -> tuple[float, httpx.Response]:
        began = time.perf_counter()
        response = await acme.ask("Hello?", user="slow")
        return time.perf_counter() - began, response

    async with rough_engine() as engine, serving(tmp_path, engine.url, engine_slots="2") as (_, acme):
        await timed(acme)
        answers = [each for _ in range(3) for each in await asyncio.gather(*(timed(acme) for _ in range(3)))]
    told = [float(response.headers["x-graft-overhead-ms"]) for _, response in answers]
    missing = [(took - SLOW_S) * 1000 - mine for (took, _), mine in zip(answers, told, strict=True)]
    waited = [gap for gap, mine in zip(missing, told, strict=True) if mine > 0.5 * SLOW_S * 1000]
    assert min(missing) > -5 and waited and min(waited) < 60, (told, missing)
    assert min(told) < 0.5 * SLOW_S * 1000


async def test_the_engine_is_told_where_a_request_belongs_in_the_clients_trace(tmp_path: Path) -> None:
    stub = StubEngine()
    async with served(stub) as url, serving(tmp_path, url) as (_, acme):
        await acme.ask("Hello?", {"traceparent": TRACE, "tracestate": "a=b"})
        await acme.ask("Hello?", {"traceparent": "00-nonsense", "tracestate": "a=b"})
    first, second = stub.headers
    assert (first["traceparent"], first["tracestate"]) == (TRACE, "a=b")
    assert "traceparent" not in second and "tracestate" not in second


async def test_spans_are_exported_where_a_receiver_is_configured(tmp_path: Path) -> None:
    received: list[bytes] = []

    async def receiver(scope: dict, receive: Any, send: Any) -> None:
        received.append((await receive())["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    stub = StubEngine()
    async with (
        served(stub) as engine_url,
        served(receiver) as url,
        serving(tmp_path, engine_url, otlp_url=f"{url}/v1/traces") as (started, acme),
    ):
        answer = await acme.ask("Hello?", {"traceparent": TRACE})
        started.process.terminate()
        assert await ended(started, 10) == 0
    (request,) = [ExportTraceServiceRequest.FromString(gzip_or_plain(body)) for body in received]
    (span,) = request.resource_spans[0].scope_spans[0].spans
    found = {each.key: each.value for each in span.attributes}
    assert (span.name, span.trace_id.hex(), span.parent_span_id.hex()) == (
        "chat default",
        TRACE.split("-")[1],
        TRACE.split("-")[2],
    )
    assert found["gen_ai.response.id"].string_value == answer.json()["id"]
    assert found["gen_ai.usage.output_tokens"].int_value == 2
    assert stub.headers[0]["traceparent"].split("-")[1:3] == [span.trace_id.hex(), span.span_id.hex()]


def gzip_or_plain(body: bytes) -> bytes:
    return gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body


async def _inflight(acme: Customer, count: int) -> bool:
    return f"graft_inflight {count}.0" in (await acme.client.get("/metrics")).text


async def _is(value: bool) -> bool:
    return value
