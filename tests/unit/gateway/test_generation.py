"""Which version a request is answered by, and from when on it is held."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.admission import Admission, Admissions
from gateway.errors import RateLimited
from tests.unit.gateway.conftest import Bench
from tests.unit.gateway.worlds import adapter
from tests.waiting import until


@pytest.mark.parametrize("refused", [None, RateLimited("Slow down."), RuntimeError("a fault of ours")])
async def test_a_version_is_held_while_its_request_waits_to_be_admitted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, refused: Exception | None
) -> None:
    """A swap that drains in this moment must see it, and it is given back whatever comes of the request."""
    admit, seen = Admissions.admit, []

    async def looking(*given: Any) -> Admission:
        seen.append(bench.leases.counts())
        if refused is not None:
            raise refused
        return await admit(*given)

    monkeypatch.setattr(Admissions, "admit", looking)
    response = await bench.chat()
    assert (seen, bench.leases.counts()) == ([{"ver_1": 1}], {})
    assert (response.status_code == 200) == (refused is None)


async def test_a_request_whose_body_takes_long_is_answered_by_what_serves_when_it_is_there(
    bench: Bench,
) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b'{"model": "default", '
        await until(lambda: bench.telemetry.inflight == 1)
        routes = {"default": adapter("ten_acme", stable="ver_2", v1="ver_1", v2="ver_2")}
        bench.change(adapters=routes)
        yield b'"messages": [{"role": "user", "content": "Hello?"}]}'

    response = await bench.client.post(
        "/v1/chat/completions", content=slow(), headers={"authorization": bench.acme.bearer}
    )
    assert (response.status_code, bench.engine.asked[0]["model"]) == (200, "ver_2")


async def test_how_long_a_client_takes_to_send_is_not_our_time(bench: Bench) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b'{"model": "default", '
        await asyncio.sleep(0.3)
        yield b'"messages": [{"role": "user", "content": "Hello?"}]}'

    response = await bench.client.post(
        "/v1/chat/completions", content=slow(), headers={"authorization": bench.acme.bearer}
    )
    assert float(response.headers["x-graft-overhead-ms"]) < 150
    assert bench.journal.written[0].latency_ms < 150


async def test_a_fault_of_ours_is_counted_as_one(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: Any) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(Admission, "turn", fail)
    assert (await bench.chat()).status_code == 500
    labels = {"tenant": "ten_acme", "version": "default@v1", "arm": "stable", "status": "500"}
    name = "gen_ai_server_request_duration_seconds_count"
    assert bench.telemetry.registry.get_sample_value(name, labels) == 1
