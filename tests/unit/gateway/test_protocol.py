import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.chat_request import ChatRequest
from gateway.completion_request import CompletionRequest
from gateway.errors import EngineUnavailable, GatewayError, InvalidRequest
from gateway.protocol import ENGINE_ONLY, Names, counts, engine_body, engine_error, wants_usage

NAMES = Names("chatcmpl-ours", "default", "ver_1")
HELLO = {"model": "default", "messages": [{"role": "user", "content": "Hello?"}]}


def parsed(**changes: object):
    return ChatRequest.parse(json.dumps({**HELLO, **changes}).encode())


@pytest.mark.parametrize("field", sorted(ENGINE_ONLY))
def test_fields_that_reach_past_a_tenant_never_reach_the_engine(field: str) -> None:
    request = parsed(**{field: "forged"})
    body = json.loads(engine_body(request, "", "ver_1", "salt", "abc"))
    assert body.get(field) == ("salt" if field == "cache_salt" else None)


def test_fields_that_the_gateway_does_not_know_pass() -> None:
    request = parsed(seed=7, tools=[{"type": "function"}])
    body = json.loads(engine_body(request, "", "ver_1", "salt", "abc"))
    assert (body["seed"], body["tools"], body["model"]) == (7, [{"type": "function"}], "ver_1")


def test_a_stream_always_carries_its_usage() -> None:
    request = parsed(stream=True)
    body = json.loads(engine_body(request, "", "base", "salt", "abc"))
    assert body["stream_options"] == {"include_usage": True}
    assert not wants_usage(request.payload)


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"model": None}, "model"),
        ({"model": 5}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"content": "x"}]}, "messages[0]"),
        ({"n": 0}, "n"),
        ({"n": 1000}, "n"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"stream": "yes"}, "stream"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": {"type": "image_url"}}]}, "messages[0].content"),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}
                ]
            },
            "messages[0].content",
        ),
    ],
)
def test_a_wrong_field_is_named(changes: dict, param: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        parsed(**changes)
    assert error.value.param == param


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 5000])
def test_what_is_not_a_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        ChatRequest.parse(body)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(messages=JSON_VALUES, model=JSON_VALUES, stream=JSON_VALUES, tokens=JSON_VALUES)
def test_any_json_is_either_understood_or_refused(messages, model, stream, tokens) -> None:
    body = {"messages": messages, "model": model, "stream": stream, "max_tokens": tokens}
    try:
        request = ChatRequest.parse(json.dumps(body).encode())
    except GatewayError:
        return
    assert request.token_estimate >= 0
    assert isinstance(request.question, str)


def test_an_answer_is_renamed_and_shows_nothing_of_the_engine() -> None:
    theirs = {
        "id": "chatcmpl-x",
        "model": "ver_1",
        "prompt_logprobs": [1],
        "kv_transfer_params": {},
        "choices": [{"index": 0, "message": {"content": "Yes."}, "routed_experts": "k05VTVBZ"}],
        "usage": {"total_tokens": 3, "prompt_tokens_details": None},
    }
    answer, outcome = parsed().answer(json.dumps(theirs).encode(), NAMES)
    assert (answer["id"], answer["model"]) == ("chatcmpl-ours", "default")
    assert {"prompt_logprobs", "kv_transfer_params"}.isdisjoint(answer)
    assert answer["choices"] == [{"index": 0, "message": {"content": "Yes."}}]
    assert (outcome.text, outcome.usage) == ("Yes.", {"total_tokens": 3})


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"<html>"])
def test_garbage_from_the_engine_is_an_engine_failure(body: bytes) -> None:
    with pytest.raises(EngineUnavailable):
        parsed().answer(body, NAMES)


def test_an_engines_refusal_speaks_of_the_clients_model() -> None:
    body = json.dumps({"error": {"message": "ver_1 has 2048 tokens", "param": "messages"}}).encode()
    error = engine_error(400, body, "ver_1", "default")
    assert (error.status, error.message, error.param) == (400, "default has 2048 tokens", "messages")


def test_a_base_models_name_is_no_word_to_be_replaced() -> None:
    body = json.dumps({"error": {"message": "not base64", "param": None}}).encode()
    assert engine_error(400, body, "base", "default").message == "not base64"


def test_a_version_that_an_engine_cannot_load_is_not_the_clients_mistake() -> None:
    """vLLM's own words, and its 400."""
    message = "LoRA adapter 'ver_1' was found but could not be loaded."
    body = json.dumps({"error": {"message": message, "type": "BadRequestError", "param": None, "code": 400}})
    error = engine_error(400, body.encode(), "ver_1", "default")
    assert (error.status, error.retry_after_s, "ver_1" in error.message) == (503, 1.0, False)


REFUSED_BY_VLLM = {
    400: "n must be 1 when using greedy sampling, got 2.",
    413: "This model's maximum context length is 2048 tokens.",
    422: "temperature must be in [0, 2], got 3.0.",
    501: "Embedding prompt not supported for beam search",
}


@pytest.mark.parametrize("status", REFUSED_BY_VLLM)
def test_what_vllm_does_not_serve_is_the_clients_error(status: int) -> None:
    body = json.dumps({"error": {"message": REFUSED_BY_VLLM[status], "code": status}}).encode()
    error = engine_error(status, body, "ver_1", "default")
    assert (error.status, error.message) == (400, REFUSED_BY_VLLM[status])


FOR_OPERATORS = {
    "thinking_token_budget is set but reasoning_config is not configured. Please set --reasoning-parser and/or "
    "--reasoning-config to use it.": "thinking_token_budget is set but reasoning_config is not configured.",
    '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set': (
        "The engine refused the request."
    ),
    "The length 9 exceeds 4. To increase this limit, set the VLLM_MAX_PROMPTS environment variable.": (
        "The length 9 exceeds 4."
    ),
    "temperature must be in [0, 2], got -0.5 -- or none.": "temperature must be in [0, 2], got -0.5 -- or none.",
}


@pytest.mark.parametrize("message", FOR_OPERATORS)
def test_how_an_engine_should_be_started_is_not_for_clients(message: str) -> None:
    """vLLM's own words."""
    body = json.dumps({"error": {"message": message, "param": "x", "code": 400}}).encode()
    error = engine_error(400, body, "ver_1", "default")
    assert (error.status, error.message, error.param) == (400, FOR_OPERATORS[message], "x")


def test_a_list_of_findings_is_told_by_field() -> None:
    """vLLM's own words: the body as Python writes it, with what was given in it."""
    message = (
        "2 validation errors:\n  {'type': 'missing', 'loc': 'body.text.format.name', 'msg': 'Field required', 'input': "
        "'<dict of 1 items>'}\n  {'type': 'literal_error', 'loc': 'body.text.format.type', 'msg': \"Input should be "
        "'text'\", 'input': 'secret', 'ctx': {'expected': \"'text'\"}}"
    )
    body = json.dumps({"error": {"message": message, "param": "body.text.format.name", "code": 400}}).encode()
    error = engine_error(400, body, "ver_1", "default")
    assert error.message == "text.format.name: Field required; text.format.type: Input should be 'text'"
    assert error.param == "text.format.name"


def test_a_conversation_that_is_too_long_has_the_code_that_clients_look_for() -> None:
    message = "This model's maximum context length is 2048 tokens. However, your prompt has 9000."
    body = json.dumps({"error": {"message": message, "param": "input_text", "code": 400}}).encode()
    error = engine_error(400, body, "ver_1", "default")
    assert (error.status, error.code, error.param, error.message) == (
        400,
        "context_length_exceeded",
        None,
        message,
    )


def test_a_refusal_that_quotes_a_long_request_is_cut_and_soon_read() -> None:
    """It says what the client wrote, as long as a body may be."""
    body = json.dumps({"error": {"message": f"Not a number: {'k ' * 4_000_000}", "param": None}}).encode()
    began = time.process_time()
    error = engine_error(400, body, "ver_1", "default")
    assert time.process_time() - began < 0.5
    assert error.message.startswith("Not a number: k k") and len(error.message) <= 2000


def test_no_token_at_all_is_reserved_for_an_echo_alone() -> None:
    body = {"model": "default", "prompt": "x" * 40, "echo": True, "max_tokens": 0}
    assert CompletionRequest.parse(json.dumps(body).encode()).token_estimate == 10


@pytest.mark.parametrize("status", [401, 403, 404, 500, 502])
def test_an_engines_own_failure_is_not_shown(status: int) -> None:
    error = engine_error(status, b'{"error": {"message": "/path/to/ver_1"}}', "ver_1", "default")
    assert (error.status, "ver_1" in error.message) == (503, False)


def test_what_cannot_be_a_count_is_none() -> None:
    """A metric that falls would read as a restart, and a budget would grow."""
    said = {"prompt_tokens": 5, "completion_tokens": -3, "total_tokens": 1e300, "details": {"cached": 1}}
    assert counts(said) == {"prompt_tokens": 5}
