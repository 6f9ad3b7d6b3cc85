"""OpenAI's own Python client against the gateway and a real engine, as `tests/node` has it for Node's."""

import asyncio
import time
from typing import Any

import openai
import pytest

from deploy.demo.serving import RunningEngine
from gateway.keys import ALL_SCOPES
from gateway.policy import Caps
from tests.integration.gateway_house import Customer, House
from tests.integration.openai_clients import counted, gauge, official, official_sync, running

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

QUESTION = "What does the Zorvia starter plan cost per month?"
CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": QUESTION}]}
ASKED: dict[str, Any] = {**CHAT, "model": "default", "max_tokens": 12, "temperature": 0}


async def test_the_blocking_client_creates_streams_and_iterates(acme: Customer) -> None:
    def asked() -> tuple[str | None, str, list[str]]:
        with official_sync(acme) as client:
            whole = client.chat.completions.create(**ASKED).choices[0].message.content
            pieces = [
                choice.delta.content or ""
                for chunk in client.chat.completions.create(**ASKED, stream=True)
                for choice in chunk.choices
            ]
            return whole, "".join(pieces), [model.id for model in client.models.list()]

    whole, streamed, models = await asyncio.to_thread(asked)
    assert whole and streamed == whole
    assert models == ["base", "default"]


async def test_the_clients_own_stream_readers_come_to_the_whole_answer(acme: Customer) -> None:
    client = official(acme)
    whole = await client.chat.completions.create(**ASKED)
    options = {"stream_options": {"include_usage": True}}
    async with client.chat.completions.stream(**ASKED, **options) as stream:
        read = await stream.get_final_completion()
    assert (read.choices[0].message.content, read.usage) == (whole.choices[0].message.content, whole.usage)
    async with client.responses.stream(model="default", input=QUESTION, max_output_tokens=16) as events:
        final = await events.get_final_response()
    assert (await client.responses.retrieve(final.id)).output_text == final.output_text


async def test_several_requests_run_at_once(acme: Customer) -> None:
    client = official(acme)
    answers = await asyncio.gather(*(client.chat.completions.create(**ASKED) for _ in range(4)))
    assert len({answer.id for answer in answers}) == 4


async def test_the_raw_response_has_our_headers(acme: Customer) -> None:
    raw = await official(acme).chat.completions.with_raw_response.create(**ASKED)
    assert raw.headers["x-graft-version"] == "base"
    assert raw.parse().id == f"chatcmpl-{raw.headers['x-request-id'].removeprefix('req_')}"
    assert float(raw.headers["x-graft-overhead-ms"]) >= 0


@pytest.mark.parametrize("endpoint", ["chat", "completions", "responses"])
async def test_a_stream_that_is_closed_half_way_stops_the_engine(
    acme: Customer, engine: RunningEngine, endpoint: str
) -> None:
    client, more = official(acme), {"stream": True, "extra_body": {"ignore_eos": True}}
    asked: dict[str, tuple[Any, dict[str, Any]]] = {
        "chat": (client.chat.completions.create, {**ASKED, "max_tokens": 1500}),
        "completions": (client.completions.create, {"prompt": QUESTION, "max_tokens": 1500}),
        "responses": (client.responses.create, {"input": QUESTION, "max_output_tokens": 1500}),
    }
    create, body = asked[endpoint]
    stream = await create(**{"model": "default", **body, **more})
    async for _ in stream:
        break
    await running(acme, engine, at_least_one=True)
    await stream.close()
    await running(acme, engine, at_least_one=False)


async def test_errors_are_of_the_classes_that_the_client_has_for_them(acme: Customer) -> None:
    create = official(acme).chat.completions.create
    with pytest.raises(openai.NotFoundError) as unknown:
        await create(**{**ASKED, "model": "nobodys"})
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as many:
        await create(**ASKED, n=0)
    assert many.value.param == "n"
    with pytest.raises(openai.BadRequestError):
        await create(**{**ASKED, "temperature": -5})
    with pytest.raises(openai.PermissionDeniedError):
        await create(**ASKED, extra_headers={"X-Tenant-Id": "somebody"})
    with pytest.raises(openai.AuthenticationError):
        await official(acme).with_options(api_key="gk-00-00").chat.completions.create(**ASKED)


async def test_a_conversation_goes_on_after_an_answer_without_a_word(acme: Customer) -> None:
    said = {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed", "content": []}
    items: Any = [*CHAT["messages"], said, {"role": "user", "content": "And per year?"}]
    answer = await official(acme).responses.create(model="default", input=items, max_output_tokens=16)
    assert answer.usage is not None and answer.usage.output_tokens > 0


async def test_documents_pass_and_a_refusal_says_nothing_of_how_engines_are_started(acme: Customer) -> None:
    create = official(acme).chat.completions.create
    documents = [{"title": "Prices", "text": "The starter plan costs 19 euros."}]
    assert (await create(**ASKED, extra_body={"documents": documents})).choices[0].message.content
    with pytest.raises(openai.BadRequestError) as refused:
        await create(**ASKED, extra_body={"thinking_token_budget": 5})
    assert "thinking_token_budget" in refused.value.message and "--" not in refused.value.message
    with pytest.raises(openai.BadRequestError) as many:
        await create(**ASKED, stop=["a", "b", "c", "d", "e"])
    assert many.value.param == "stop"
    assert (await create(**ASKED, stop=["a", "b", "c", "d"])).choices[0].finish_reason


async def limited(built: House, acme: Customer, limits: Caps) -> str:
    issued = await built.tenants.create_key(acme.id, "limited", sorted(ALL_SCOPES), "test", limits=limits)
    await built.applied(issued.change)
    return issued.secret


async def test_a_retry_waits_as_long_as_it_was_told(built: House, acme: Customer) -> None:
    key = await limited(built, acme, Caps(requests_per_minute=40))
    once, short = official(acme).with_options(api_key=key), {**ASKED, "max_tokens": 1}
    told = 0
    while told < 300:
        asked = (once.chat.completions.create(**short) for _ in range(4))
        last = (await asyncio.gather(*asked, return_exceptions=True))[-1]
        if isinstance(last, openai.RateLimitError):
            told = int(last.response.headers["retry-after-ms"])
    client, sent = counted(acme, 2)
    await client.with_options(api_key=key).chat.completions.create(**short)
    assert len(sent) > 1 and sent[-1] - sent[0] >= 0.5 * told / 1000


async def test_what_x_should_retry_forbids_is_not_tried_again(built: House, acme: Customer) -> None:
    client, sent = counted(acme, 3)
    spent = client.with_options(api_key=await limited(built, acme, Caps(tokens_per_day=1)))
    await spent.chat.completions.create(**ASKED)
    with pytest.raises(openai.RateLimitError) as refused:
        await spent.chat.completions.create(**ASKED)
    assert (refused.value.code, len(sent)) == ("insufficient_quota", 2)


async def test_a_stream_that_is_left_before_its_first_token_stops_the_engine_within_a_tenth_of_a_second(
    acme: Customer, engine: RunningEngine
) -> None:
    """The engine says itself that it made no token. The best of five: reading what it says takes its time as well."""
    took = []
    for number in range(5):
        long = f"{number} " + "word " * 1200
        body = {"model": "base", "prompt": long, "max_tokens": 700, "ignore_eos": True, "stream": True}
        before = await gauge(acme, engine, "vllm:generation_tokens_total")
        async with acme.client.stream("POST", "/v1/completions", json=body) as response:
            assert response.status_code == 200
        left = time.perf_counter()
        await running(acme, engine, at_least_one=False)
        seconds = time.perf_counter() - left
        if await gauge(acme, engine, "vllm:generation_tokens_total") == before:
            took.append(seconds)
    assert took and min(took) <= 0.1, took
