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
        ({"stop": ["a"] * 17}, "stop"),
        ({"stop": "a" * 257}, "stop"),
        ({"stop": [""]}, "stop"),
        ({"stop": [5]}, "stop"),
        ({"stop": {"a": 1}}, "stop"),
        ({"stop_token_ids": [1] * 65}, "stop_token_ids"),
        ({"logit_bias": {str(token): 1 for token in range(1025)}}, "logit_bias"),
        ({"tools": [{}] * 129}, "tools"),
        ({"stream": 1}, "stream"),
    ],
)
def test_a_field_out_of_bounds_is_named(changes: dict, param: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        read_object(json.dumps(changes).encode())
    assert error.value.param == param


@pytest.mark.parametrize(
    "changes",
    [{"stop": None}, {"stop": []}, {"stop": "END"}, {"n": 16}, {"stream": None}, {"max_tokens": None}],
)
def test_what_is_within_bounds_passes(changes: dict) -> None:
    assert read_object(json.dumps(changes).encode()) == changes


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
