"""Who may ask a chat for what, and how much: tenants, keys, bodies, limits."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from gateway.keys import ALL_SCOPES, Scope
from gateway.policy import Caps
from tests.unit.gateway.conftest import Bench
from tests.unit.gateway.worlds import Member
from tests.waiting import until


@pytest.mark.parametrize(
    "model", ["ver_1", "default@v1", "default@v2", "default@candidate", "acme", "ten_acme"]
)
async def test_another_tenants_versions_are_not_found(bench: Bench, model: str) -> None:
    for response in (
        await bench.chat(bench.globex, model=model),
        await bench.chat(bench.globex, headers={"x-adapter": model}),
    ):
        assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")
    assert bench.engine.asked == []


async def test_a_tenant_key_cannot_name_another_tenant(bench: Bench) -> None:
    response = await bench.chat(bench.globex, headers={"x-tenant-id": "acme"})
    assert (response.status_code, response.json()["error"]["code"]) == (403, "permission_denied")


async def test_a_stranger_is_turned_away_before_the_body_is_read(bench: Bench) -> None:
    response = await bench.client.post("/v1/chat/completions", content=b"not json")
    assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize("ask", ["chat", "complete", "respond"])
async def test_a_key_without_the_scope_is_refused(bench: Bench, ask: str) -> None:
    other = replace(bench.acme.key, scopes=ALL_SCOPES - {Scope.CHAT})
    bench.current.value = replace(bench.current.value, keys={other.public_id: other})
    kept = await bench.client.get("/v1/responses/resp_1", headers={"authorization": bench.acme.bearer})
    for response in (await getattr(bench, ask)(), kept):
        assert (response.status_code, response.json()["error"]["code"]) == (403, "permission_denied")
    assert bench.engine.asked == []


async def test_a_body_of_unknown_length_over_the_limit_is_refused(bench: Bench) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 10_000

    headers = {"authorization": bench.acme.bearer}
    response = await bench.client.post("/v1/chat/completions", content=parts(), headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (413, "request_too_large")


async def test_a_body_over_the_limit_is_refused(bench: Bench) -> None:
    response = await bench.chat(messages=[{"role": "user", "content": "x" * 200_000}])
    assert (response.status_code, response.json()["error"]["code"]) == (413, "request_too_large")


async def test_limits_are_enforced_and_told(bench: Bench) -> None:
    bench.set_policy({"limits": {"requests_per_minute": 1}})
    first, second = await bench.chat(), await bench.chat()
    assert first.headers["x-ratelimit-remaining-requests"] == "0"
    assert (second.status_code, second.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert len(bench.engine.asked) == 1


async def test_a_request_that_the_engine_fails_costs_nothing(bench: Bench) -> None:
    bench.set_policy({"limits": {"requests_per_minute": 1, "tokens_per_day": 300}})
    bench.engine.status = 500
    assert [(await bench.chat()).status_code for _ in range(2)] == [503, 503]
    bench.engine.status = 200
    assert (await bench.chat()).status_code == 200


async def test_a_used_up_day_is_not_tried_again(bench: Bench) -> None:
    bench.set_policy({"limits": {"tokens_per_day": 10}})
    first, second = await bench.chat(max_tokens=1), await bench.chat(max_tokens=2)
    assert first.status_code == 200
    assert (second.status_code, second.json()["error"]["code"]) == (429, "insufficient_quota")
    assert second.headers["x-should-retry"] == "false"


async def test_a_keys_own_limit_holds(bench: Bench) -> None:
    limited = replace(bench.acme.key, limits=Caps(requests_per_minute=1))
    bench.current.value = replace(bench.current.value, keys={limited.public_id: limited})
    assert [(await bench.chat()).status_code for _ in range(2)] == [200, 429]


async def test_a_client_that_leaves_frees_its_place(bench: Bench) -> None:
    bench.set_policy({"limits": {"concurrency": 1}})
    bench.engine.hold = asyncio.Event()
    request = asyncio.create_task(bench.chat())
    await until(lambda: bench.engine.waiting == 1)
    assert (await bench.chat()).status_code == 429
    request.cancel()
    await until(lambda: bench.engine.waiting == 0)
    bench.engine.hold = None
    assert (await bench.chat()).status_code == 200


@pytest.mark.parametrize("who", ["acme", "globex"])
async def test_a_key_that_is_revoked_stops_working_with_the_next_snapshot(bench: Bench, who: str) -> None:
    revoked: Member = getattr(bench, who)
    bench.current.value = replace(bench.current.value, keys={})
    assert (await bench.chat(revoked)).status_code == 401
