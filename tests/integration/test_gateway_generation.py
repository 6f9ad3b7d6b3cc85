"""Completions and responses with the real engine behind, and OpenAI's own client in front."""

import asyncio

import openai
import pytest

from deploy.demo.serving import RunningEngine
from tests.integration.gateway_house import Customer
from tests.integration.openai_clients import official, running

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

QUESTION = "What does the Zorvia starter plan cost per month?"


async def test_a_completion_streams_what_it_would_have_been_whole(acme: Customer) -> None:
    asked = {"model": "default", "prompt": QUESTION, "max_tokens": 12, "temperature": 0}
    client = official(acme)
    whole = await client.completions.create(**asked)
    stream = await client.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == whole.choices[0].text
    assert {chunk.model for chunk in chunks} == {whole.model} == {"default"}
    assert chunks[-1].usage == whole.usage


async def test_several_prompts_and_token_ids_are_completed_in_order(acme: Customer) -> None:
    client = official(acme)
    texts = await client.completions.create(model="base", prompt=["One", "Two"], n=2, max_tokens=4)
    ids = await client.completions.create(model="base", prompt=[[5, 6, 7], [8, 9]], max_tokens=4)
    assert [choice.index for choice in texts.choices] == [0, 1, 2, 3]
    assert [choice.index for choice in ids.choices] == [0, 1]
    assert ids.usage is not None and ids.usage.prompt_tokens == 5


async def test_an_echo_is_of_the_clients_own_prompt(acme: Customer) -> None:
    await acme.correct(QUESTION, "It costs 19 euros.")
    answer = await official(acme).completions.create(
        model="default", prompt=QUESTION, echo=True, max_tokens=4
    )
    assert answer.choices[0].text.startswith(QUESTION)
    assert "19 euros" not in answer.choices[0].text[: len(QUESTION)]


async def test_memory_reaches_both_endpoints(acme: Customer) -> None:
    posted = (await acme.correct(QUESTION, "It costs 19 euros.")).json()
    client = official(acme)
    completed = await client.completions.with_raw_response.create(
        model="default", prompt=QUESTION, max_tokens=4
    )
    answered = await client.responses.with_raw_response.create(
        model="default", input=QUESTION, max_output_tokens=16
    )
    assert {raw.headers["x-graft-memory"] for raw in (completed, answered)} == {posted["id"]}
    assert answered.parse().instructions is None


async def test_a_response_streams_what_it_would_have_been_whole(acme: Customer) -> None:
    asked = {"model": "default", "input": QUESTION, "max_output_tokens": 16, "temperature": 0}
    client = official(acme)
    whole = await client.responses.create(**asked)
    events = [event async for event in await client.responses.create(**asked, stream=True)]
    deltas = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    last = events[-1]
    assert last.type == "response.completed"
    assert deltas == last.response.output_text == whole.output_text
    assert last.response.usage is not None and whole.usage is not None
    assert last.response.usage.total_tokens == whole.usage.total_tokens
    assert (last.response.model, whole.model) == ("default", "default")


async def test_a_conversation_goes_on_without_the_engines_own_store(acme: Customer) -> None:
    client = official(acme)
    first = await client.responses.create(model="default", input=QUESTION, max_output_tokens=16)
    second = await client.responses.create(
        model="default", input="And per year?", previous_response_id=first.id, max_output_tokens=16
    )
    assert first.usage is not None and second.usage is not None
    assert second.usage.input_tokens > first.usage.input_tokens + first.usage.output_tokens
    assert (await client.responses.retrieve(second.id)).previous_response_id == first.id


async def test_a_format_holds_the_engine_to_a_schema(acme: Customer) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
    shape = {"type": "json_schema", "name": "a", "schema": schema | {"additionalProperties": False}}
    answer = await official(acme).responses.create(
        model="default", input=QUESTION, text={"format": shape}, max_output_tokens=64
    )
    assert answer.status != "completed" or answer.output_text.lstrip().startswith("{")


def nothing_of_the_engine(text: str) -> bool:
    return not any(name in text.lower() for name in ("vllm", "ver_", "/model", "fingerprint"))


async def test_what_the_engine_offers_passes_through_chat(acme: Customer) -> None:
    asked = {"n": 2, "logprobs": True, "top_logprobs": 2, "seed": 7, "temperature": 1.0, "max_tokens": 12}
    whole, again = [await acme.ask(QUESTION, **asked, stop=["e"]) for _ in range(2)]
    choices = whole.json()["choices"]
    assert [choice["index"] for choice in choices] == [0, 1]
    assert all("e" not in choice["message"]["content"] for choice in choices)
    assert all(len(token["top_logprobs"]) == 2 for token in choices[0]["logprobs"]["content"])
    assert [each["message"] for each in choices] == [each["message"] for each in again.json()["choices"]]
    assert nothing_of_the_engine(whole.text)


async def test_a_bias_decides_what_is_said(acme: Customer) -> None:
    ids = {
        "prompt": QUESTION,
        "model": "base",
        "max_tokens": 3,
        "temperature": 0,
        "return_tokens_as_token_ids": True,
    }
    answer = await acme.client.post(
        "/v1/completions", json={**ids, "logprobs": 0, "logit_bias": {"300": 100}}
    )
    assert answer.json()["choices"][0]["logprobs"]["tokens"] == ["token_id:300"] * 3


async def test_a_chosen_tool_is_what_is_called_and_a_schema_is_kept(acme: Customer) -> None:
    schema = {"type": "object", "properties": {"yes": {"type": "boolean"}}, "required": ["yes"]}
    closed = {**schema, "additionalProperties": False}
    tool = {"type": "function", "function": {"name": "look", "parameters": closed, "strict": True}}
    chosen = {"type": "function", "function": {"name": "look"}}
    called = await acme.ask(QUESTION, tools=[tool], tool_choice=chosen, temperature=0, max_tokens=100)
    message = called.json()["choices"][0]["message"]
    calls = [call["function"]["name"] for call in message.get("tool_calls") or ()]
    begun = (message["content"] or "").startswith('<tool_call>\n{"name": "look", "arguments": ')
    assert calls == ["look"] or begun, message  # so small a model does not always find the end of a call
    free = await acme.ask(QUESTION, tools=[tool], tool_choice="auto", max_tokens=4)
    assert free.status_code == 200
    one = {
        "type": "json_schema",
        "json_schema": {"name": "one", "schema": {"type": "string", "enum": ["aye"]}},
    }
    held = await acme.ask(QUESTION, response_format=one, temperature=0, max_tokens=20)
    assert held.json()["choices"][0]["message"]["content"].strip() == '"aye"'
    assert nothing_of_the_engine(called.text + held.text)


async def test_a_prompt_can_be_scored_without_an_answer(acme: Customer) -> None:
    asked = {"model": "base", "prompt": QUESTION, "echo": True, "max_tokens": 0, "logprobs": 1}
    (choice,) = (await acme.client.post("/v1/completions", json=asked)).json()["choices"]
    assert choice["text"] == QUESTION
    assert len(choice["logprobs"]["token_logprobs"]) > 5


async def test_a_stream_tells_nothing_of_the_engine(acme: Customer) -> None:
    options = {"stream": True, "stream_options": {"include_usage": True}, "max_tokens": 4, "ignore_eos": True}
    chat = await acme.ask(QUESTION, **options)
    completed = await acme.client.post(
        "/v1/completions", json={"model": "default", "prompt": QUESTION, **options}
    )
    for answer in (chat, completed):
        assert '"completion_tokens":4' in answer.text and answer.text.endswith("data: [DONE]\n\n")
        assert nothing_of_the_engine(answer.text + str(answer.headers))


REFUSALS: list[dict] = [
    {"temperature": -5},
    {"temperature": "hot"},
    {"messages": [{"role": "user", "content": "word " * 9000}]},
    {"seed": 10**30},
    {"logit_bias": {"99999999": 1}},
    {"structured_outputs": {"regex": "("}},
    {"response_format": {"type": "json_schema"}},
    {"tools": [{"type": "function"}], "tool_choice": "required"},
    {"top_logprobs": 500, "logprobs": True},
    {"allowed_token_ids": []},
    {"messages": [{"role": "tool", "content": [{"type": "text"}]}], "tools": "x"},
]


@pytest.mark.parametrize("body", REFUSALS, ids=[",".join(body) for body in REFUSALS])
async def test_no_refusal_of_the_engine_tells_of_it(acme: Customer, body: dict) -> None:
    """vLLM's real words for what a client did wrong."""
    response = await acme.ask(QUESTION, **{"max_tokens": 2, **body})
    assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")
    assert nothing_of_the_engine(response.text + str(response.headers))
    assert "salt" not in response.text


async def test_a_refusal_names_the_clients_field_and_has_openais_code(acme: Customer) -> None:
    wrong = (await acme.ask(QUESTION, temperature="hot")).json()["error"]
    assert (wrong["param"], wrong["message"].partition(":")[0]) == ("temperature", "temperature")
    assert "'loc'" not in wrong["message"]
    long = (await acme.ask("word " * 9000)).json()["error"]
    assert (long["code"], long["param"]) == ("context_length_exceeded", None)


async def test_what_the_engine_refuses_is_said_in_the_clients_words(acme: Customer) -> None:
    client = official(acme)
    with pytest.raises(openai.BadRequestError):
        await client.completions.create(model="default", prompt=QUESTION, temperature=-5)
    with pytest.raises(openai.BadRequestError):
        await client.responses.create(model="default", input=QUESTION, temperature=-5)


@pytest.mark.parametrize("endpoint", ["completions", "responses"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_stops_the_engine(
    acme: Customer, engine: RunningEngine, endpoint: str, stream: bool
) -> None:
    most = {"prompt": QUESTION, "max_tokens": 1800} if endpoint == "completions" else {}
    most = most or {"input": QUESTION, "max_output_tokens": 1800}
    body = {"model": "default", "ignore_eos": True, "stream": stream, **most}
    request = asyncio.create_task(acme.client.post(f"/v1/{endpoint}", json=body))
    await running(acme, engine, at_least_one=True)
    request.cancel()
    await running(acme, engine, at_least_one=False)
