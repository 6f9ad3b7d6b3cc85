"""The chat endpoint over real sockets."""

import asyncio
import json
from dataclasses import replace

import httpx
import pytest

from gateway.replicas import Replicas
from gateway.snapshot import CurrentSnapshot
from tests.unit.gateway.conftest import HIT, Bench
from tests.unit.gateway.worlds import snapshot
from tests.waiting import until


def events(response: httpx.Response) -> list[str]:
    return [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]


async def test_an_answer_carries_our_names_and_says_who_answered(bench: Bench) -> None:
    response = await bench.chat()
    answer = response.json()
    assert answer["model"] == "default"
    assert answer["id"].startswith("chatcmpl-") and answer["id"] != "chatcmpl-upstream"
    headers = response.headers
    assert (headers["x-graft-version"], headers["x-graft-arm"]) == ("default@v1", "stable")
    assert (headers["x-graft-memory"], headers["x-graft-passages"]) == ("", "")
    assert float(headers["x-graft-overhead-ms"]) >= 0
    assert headers["x-request-id"].startswith("req_")


async def test_the_engine_is_asked_for_the_version_and_never_named(bench: Bench) -> None:
    response = await bench.chat()
    assert bench.engine.asked[0]["model"] == "ver_1"
    assert "ver_1" not in response.text + str(response.headers)


async def test_a_stream_carries_our_names_in_every_event(bench: Bench) -> None:
    response = await bench.chat(stream=True)
    *chunks, done = events(response)
    assert done == "[DONE]"
    parsed = [json.loads(chunk) for chunk in chunks]
    assert {chunk["model"] for chunk in parsed} == {"default"}
    assert len({chunk["id"] for chunk in parsed}) == 1
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in parsed) == "Hello there"
    assert "ver_1" not in response.text
    assert (response.headers["cache-control"], response.headers["x-accel-buffering"]) == ("no-cache", "no")


@pytest.mark.parametrize("ask", ["chat", "complete", "respond"])
@pytest.mark.parametrize("options", [{}, {"stream": True, "stream_options": {"include_usage": True}}])
async def test_nothing_of_an_answer_names_the_engine(bench: Bench, ask: str, options: dict) -> None:
    response = await getattr(bench, ask)(**options)
    said = f"{response.text} {response.headers}".lower()
    assert response.status_code == 200
    assert not any(
        name in said for name in ("ver_1", "vllm", "upstream", bench.engine.asked[0]["cache_salt"])
    )


async def test_usage_with_every_event_is_for_those_who_asked_for_usage(bench: Bench) -> None:
    continuous = {"continuous_usage_stats": True}
    await bench.chat(stream=True, stream_options=continuous)
    await bench.chat(stream=True, stream_options={**continuous, "include_usage": True})
    asked = [body["stream_options"] for body in bench.engine.asked]
    assert asked == [{"include_usage": True}, {**continuous, "include_usage": True}]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
async def test_who_leaves_with_the_last_event_has_had_a_whole_answer(bench: Bench, path: str) -> None:
    """Its correction may come before the engine has closed its stream."""
    bench.engine.linger = asyncio.Event()
    body = {
        "model": "default",
        "stream": True,
        "prompt": "Hi",
        "messages": [{"role": "user", "content": "Hi"}],
    }
    headers = {"authorization": bench.acme.bearer}
    async with bench.client.stream("POST", path, json=body, headers=headers) as response:
        async for line in response.aiter_lines():
            if line == "data: [DONE]":
                break
    assert (await bench.chat(bench.globex)).status_code == 200  # by now the gateway has seen it leave
    bench.engine.linger.set()
    await until(lambda: len(bench.journal.written) == 2)
    assert [each.status for each in bench.journal.written] == [200, 200]
    assert bench.journal.written[1].response == "Hello there"
    assert bench.engine.aborted == []


async def test_usage_is_streamed_to_those_who_ask(bench: Bench) -> None:
    asked = await bench.chat(stream=True, stream_options={"include_usage": True})
    assert json.loads(events(asked)[-2])["usage"]["total_tokens"] == 9
    assert "usage" not in (await bench.chat(stream=True)).text


async def test_a_stream_that_breaks_off_ends_with_an_error_event(bench: Bench) -> None:
    bench.engine.break_after = 2
    response = await bench.chat(stream=True)
    assert json.loads(events(response)[-1])["error"]["code"] == "engine_unavailable"
    await until(lambda: bool(bench.journal.written))
    assert bench.journal.written[0].status == 503


@pytest.mark.parametrize("ask", ["chat", "complete", "respond"])
async def test_a_stream_that_breaks_off_counts_against_its_replica(
    bench: Bench, ask: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: list[str] = []
    monkeypatch.setattr(Replicas, "failed", lambda _, replica: failed.append(replica.url))
    await getattr(bench, ask)(stream=True)
    assert failed == []
    bench.engine.break_after = 2
    await getattr(bench, ask)(stream=True)
    assert len(failed) == 1


async def test_memory_goes_into_the_prompt_and_is_named(bench: Bench) -> None:
    bench.memories.by_tenant["ten_acme"] = HIT
    response = await bench.chat()
    assert response.headers["x-graft-memory"] == "fb_1"
    assert "The approved answer." in bench.engine.asked[0]["messages"][0]["content"]


async def test_memory_can_be_left_out_of_a_request(bench: Bench) -> None:
    bench.memories.by_tenant["ten_acme"] = HIT
    response = await bench.chat(headers={"x-memory": "off", "x-retrieval": "off"})
    assert response.headers["x-graft-memory"] == ""
    assert bench.engine.asked[0]["messages"] == [{"role": "user", "content": "Hello?"}]


async def test_one_tenants_memory_never_reaches_another(bench: Bench) -> None:
    bench.memories.by_tenant["ten_acme"] = HIT
    response = await bench.chat(bench.globex)
    assert response.headers["x-graft-memory"] == ""
    assert "approved" not in json.dumps(bench.engine.asked)


async def test_tenants_do_not_share_the_engines_prefix_cache(bench: Bench) -> None:
    await bench.chat(cache_salt="salt-globex")
    await bench.chat(bench.globex)
    assert [asked["cache_salt"] for asked in bench.engine.asked] == ["salt-acme", "salt-globex"]


@pytest.mark.parametrize("ask", ["chat", "complete", "respond"])
async def test_no_header_of_a_clients_but_its_trace_context_reaches_the_engine(
    bench: Bench, ask: str
) -> None:
    """vLLM takes a priority, a rank, a session and more from headers."""
    forged = ("x-vllm-priority", "x-data-parallel-rank", "x-session-id", "x-request-id", "cookie")
    more = {"endpoint-load-metrics-format": "json", "accept-encoding": "gzip", "traceparent": "00-x"}
    response = await getattr(bench, ask)(headers={**dict.fromkeys(forged, "7"), **more})
    (sent,) = bench.engine.headers
    assert sent.keys() == {"host", "authorization", "content-type", "content-length", "x-request-id"}
    assert (sent["authorization"], sent["x-request-id"]) == (
        "Bearer token",
        response.headers["x-request-id"].removeprefix("req_"),
    )


async def test_an_engines_refusal_is_the_clients_error_in_the_clients_words(bench: Bench) -> None:
    bench.engine.status, bench.engine.error = 400, "ver_1 is too small for this"
    response = await bench.chat()
    assert response.status_code == 400
    assert response.json()["error"]["message"] == "default is too small for this"


async def test_an_engines_failure_is_503_with_a_time_to_come_back(bench: Bench) -> None:
    bench.engine.status = 500
    response = await bench.chat(stream=True)
    assert (response.status_code, response.json()["error"]["code"]) == (503, "engine_unavailable")
    assert response.headers["retry-after"] == "1"


async def test_the_journal_holds_what_the_client_said_and_not_what_was_added(bench: Bench) -> None:
    bench.memories.by_tenant["ten_acme"] = HIT
    response = await bench.chat(headers={"x-session-id": "s1"})
    (entry,) = bench.journal.written
    assert entry.id == response.json()["id"]
    assert list(entry.messages) == [{"role": "user", "content": "Hello?"}]
    assert (entry.response, entry.version_id, entry.session_id) == ("Hello there", "ver_1", "s1")
    assert (entry.memory_ids, entry.usage["total_tokens"]) == (("fb_1",), 9)


async def test_the_functions_that_a_request_offers_are_journalled_where_its_text_is(bench: Bench) -> None:
    tool = {"type": "function", "function": {"name": "look_up", "description": None, "parameters": None}}
    await bench.chat(tools=[tool])
    bench.set_policy({"logging": "metadata"})
    await bench.chat(tools=[tool])
    kept = [entry.detail.get("tools") for entry in bench.journal.written if entry.detail]
    assert kept == [[tool], None]


async def test_a_stream_is_journalled_as_one_text(bench: Bench) -> None:
    await bench.chat(stream=True)
    assert bench.journal.written[0].response == "Hello there"
    assert bench.journal.written[0].usage["completion_tokens"] == 2


async def test_a_tenant_that_logs_metadata_leaves_no_text(bench: Bench) -> None:
    bench.set_policy({"logging": "metadata"})
    await bench.chat()
    await bench.chat(stream=True)
    assert [(entry.messages, entry.response) for entry in bench.journal.written] == [((), "")] * 2


async def test_a_tenant_that_logs_nothing_leaves_nothing(bench: Bench) -> None:
    bench.set_policy({"logging": "off"})
    await bench.chat()
    assert bench.journal.written == []


async def test_a_request_holds_its_version_until_it_is_answered(bench: Bench) -> None:
    bench.engine.hold = asyncio.Event()
    request = asyncio.create_task(bench.chat())
    await until(lambda: bench.engine.waiting == 1)
    assert bench.leases.counts() == {"ver_1": 1}
    bench.engine.hold.set()
    await request
    assert bench.leases.counts() == {}


async def test_a_request_finishes_on_the_version_it_began_with(bench: Bench) -> None:
    bench.engine.hold = asyncio.Event()
    request = asyncio.create_task(bench.chat())
    await until(lambda: bench.engine.waiting == 1)
    bench.current.value = CurrentSnapshot(snapshot(bench.globex)).value
    bench.engine.hold.set()
    assert (await request).headers["x-graft-version"] == "default@v1"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_stops_the_engine_and_frees_its_lease(bench: Bench, stream: bool) -> None:
    bench.engine.hold = asyncio.Event()
    request = asyncio.create_task(bench.chat(stream=stream))
    await until(lambda: bench.engine.waiting == 1)
    request.cancel()
    await until(lambda: bench.engine.left == stream and len(bench.engine.aborted) == (not stream))
    await until(lambda: bench.leases.counts() == {})
    assert bench.journal.written == []


async def test_metrics_count_what_was_served(bench: Bench) -> None:
    await bench.chat()
    await bench.chat(stream=True)
    await bench.chat(model="nobodys")
    labels = {"tenant": "ten_acme", "version": "default@v1", "arm": "stable"}

    def value(name: str, **more: str) -> float | None:
        return bench.telemetry.registry.get_sample_value(name, more)

    assert value("gen_ai_server_request_duration_seconds_count", **labels, status="200") == 2
    assert value("gen_ai_client_token_usage_total", **labels, kind="prompt_tokens") == 14
    assert value("gen_ai_client_token_usage_total", **labels, kind="completion_tokens") == 4
    for name in ("time_to_first_token", "time_per_output_token"):  # of the stream alone
        assert value(f"gen_ai_server_{name}_seconds_count", **labels) == 1
    assert value("graft_overhead_seconds_count", stage="gateway") == 2
    assert (value("graft_refused_total", code="model_not_found"), value("graft_inflight")) == (1, 0)


async def test_an_adapter_whose_base_model_no_engine_holds_is_unavailable_with_the_reason(
    bench: Bench,
) -> None:
    """And nothing of the tenant's limits is spent on it."""
    left = {name: replace(routes, base="") for name, routes in bench.acme.view.adapters.items()}
    bench.change(adapters=left)
    response = await bench.chat()
    assert (response.status_code, response.json()["error"]["code"]) == (503, "engine_unavailable")
    assert "base model" in response.json()["error"]["message"] and response.headers["retry-after"]
    assert not bench.engine.asked
