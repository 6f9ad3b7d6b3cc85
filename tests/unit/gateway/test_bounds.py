"""What a body and its headers may hold."""

import json

import pytest

from gateway.asgi import MAX_HEADER_BYTES, MAX_HEADERS, check_headers
from gateway.bounds import MAX_DEPTH, read_object
from gateway.errors import HeadersTooLarge, InvalidRequest
from tests.unit.gateway.conftest import Bench


def nested(depth: int) -> bytes:
    """An object that is `depth` levels deep."""
    return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


def test_a_body_may_be_as_deep_as_the_bound() -> None:
    assert "a" in read_object(nested(MAX_DEPTH))


def test_a_deeper_body_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        read_object(nested(MAX_DEPTH + 1))


def test_a_wide_body_is_not_a_deep_one() -> None:
    assert read_object(json.dumps({"a": [{}] * 500, "b": "{[" * 500}).encode())


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"n": 17}, "n"),
        ({"n": True}, "n"),
        ({"best_of": 17}, "best_of"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_output_tokens": 1.5}, "max_output_tokens"),
        ({"max_completion_tokens": 1 << 21}, "max_completion_tokens"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": "a" * 257}, "stop"),
        ({"stop": [""]}, "stop"),
        ({"stop": [5]}, "stop"),
        ({"stop": {"a": 1}}, "stop"),
        ({"stop_token_ids": [1] * 65}, "stop_token_ids"),
        ({"logit_bias": {str(token): 1 for token in range(1025)}}, "logit_bias"),
        ({"tools": [{}] * 129}, "tools"),
        ({"stream": 1}, "stream"),
        ({"stream_options": True}, "stream_options"),
        ({"max_tokens": -1, "echo": True}, "max_tokens"),
        ({"max_tokens": 10**30}, "max_tokens"),
        ({"n": 2**64}, "n"),
        ({"chat_template_kwargs": {"chat_template": "{{ messages }}"}}, "chat_template_kwargs"),
        ({"chat_template_kwargs": ["chat_template"]}, "chat_template_kwargs"),
    ],
)
def test_a_field_out_of_bounds_is_named(changes: dict, param: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        read_object(json.dumps(changes).encode())
    assert error.value.param == param


@pytest.mark.parametrize(
    "changes",
    [
        {"stop": None},
        {"stop": []},
        {"stop": "END"},
        {"stop": ["a"] * 4},
        {"n": 16},
        {"stream": None},
        {"max_tokens": None},
        {"max_tokens": 0, "echo": True},
        {"chat_template_kwargs": {"enable_thinking": False}},
    ],
)
def test_what_is_within_bounds_passes(changes: dict) -> None:
    assert read_object(json.dumps(changes).encode()) == changes


@pytest.mark.parametrize(
    "value",
    [
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"1e999",
        b'"\\ud800"',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b"01",
        b"'x'",
        b"/**/1",
    ],
)
def test_what_only_some_would_read_as_json_is_refused(value: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read_object(b'{"temperature": ' + value + b"}")


async def test_of_a_repeated_key_the_engine_gets_what_was_checked(bench: Bench) -> None:
    """The last one; the engine never sees a body that could be read in another way."""
    body = b'{"model": "default@v2", "n": 99, "priority": 1, "model": "default", "prompt": "Hi", "n": 2}'
    headers = {"authorization": bench.acme.bearer}
    assert (await bench.client.post("/v1/completions", content=body, headers=headers)).status_code == 200
    asked = bench.engine.asked[0]
    assert (asked["model"], asked["n"], "priority" in asked) == ("ver_1", 2, False)


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/responses/resp_1"])
@pytest.mark.parametrize("name", ["authorization", "x-tenant-id", "x-adapter"])
async def test_a_header_that_says_who_asks_is_there_once(bench: Bench, path: str, name: str) -> None:
    twice = [(name, "Bearer one"), (name, "Bearer two")]
    response = await bench.client.post(path, headers=twice, json={})
    assert (response.status_code, response.json()["error"]["param"]) == (400, name)


def test_there_is_one_host() -> None:
    check_headers([(b"host", b"a")])
    with pytest.raises(InvalidRequest):
        check_headers([(b"host", b"a"), (b"host", b"a")])


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/responses/resp_1", "/nowhere"])
async def test_every_answer_has_an_id(bench: Bench, path: str) -> None:
    ids = {(await bench.client.get(path)).headers["x-request-id"] for _ in range(2)}
    large = await bench.client.get(path, headers={"x-large": "x" * MAX_HEADER_BYTES})
    assert len(ids) == 2 and all(name.startswith("req_") for name in ids)
    assert large.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize("headers", [[(b"a", b"b")] * (MAX_HEADERS + 1), [(b"a", b"b" * MAX_HEADER_BYTES)]])
def test_too_many_or_too_large_headers_are_refused(headers: list) -> None:
    with pytest.raises(HeadersTooLarge):
        check_headers(headers)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses/resp_1"])
async def test_headers_are_bounded_on_every_path(bench: Bench, path: str) -> None:
    response = await bench.client.get(path, headers={"x-large": "x" * MAX_HEADER_BYTES})
    assert (response.status_code, response.json()["error"]["code"]) == (431, "headers_too_large")


@pytest.mark.parametrize("ask", ["chat", "complete", "respond"])
@pytest.mark.parametrize("field", ["lora_path", "prompt_embeds", "priority", "prompt_logprobs", "vllm_xargs"])
async def test_fields_that_reach_past_the_tenant_are_dropped_everywhere(
    bench: Bench, ask: str, field: str
) -> None:
    assert (await getattr(bench, ask)(**{field: "forged"})).status_code == 200
    assert field not in bench.engine.asked[0]


@pytest.mark.parametrize("ask", ["chat", "complete", "respond"])
async def test_an_engines_refusal_names_the_clients_model_everywhere(bench: Bench, ask: str) -> None:
    bench.engine.status, bench.engine.error = 400, "ver_1 is too small for this"
    response = await getattr(bench, ask)()
    assert response.json()["error"]["message"] == "default is too small for this"
