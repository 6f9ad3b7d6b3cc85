"""Whatever an engine answers, a client gets an answer in our names or an error of ours."""

import json
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.chat_request import ChatRequest
from gateway.completion_request import CompletionRequest
from gateway.errors import EngineUnavailable
from gateway.protocol import GenerationRequest, Names
from gateway.response_request import ResponseRequest
from tests.unit.gateway.stub_shapes import SHAPES

NAMES = Names("our-id", "default", "ver_1")
MESSAGE = {"role": "user", "content": "Hello?"}
REQUESTS: tuple[GenerationRequest, ...] = (
    ChatRequest.parse(orjson.dumps({"model": "default", "messages": [MESSAGE], "stream": True})),
    CompletionRequest.parse(orjson.dumps({"model": "default", "prompt": "Hello?", "stream": True})),
    ResponseRequest.parse(orjson.dumps({"model": "default", "input": "Hello?", "stream": True})),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 10) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
each_request = pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: request.path)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where a JSON value has parts."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in inner for place in places(part, (*path, key)))]


def damaged(value: Any, path: tuple[Any, ...], part: Any) -> Any:
    """The value with another part at that place."""
    if not path:
        return part
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = damaged(value[path[0]], path[1:], part)
    return copy


def answer_of(request: GenerationRequest) -> dict[str, Any]:
    asked = {"model": "ver_1", "input": "Hello?"}
    return SHAPES[request.path].answer(asked, ("Hello",))


def events_of(request: GenerationRequest) -> list[Any]:
    asked = {"model": "ver_1", "input": "Hello?", "stream_options": {"include_usage": True}}
    lines = "".join(SHAPES[request.path].events(asked, ("Hello",))).splitlines()
    return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


def never_fails(read: Callable[[], Any]) -> None:
    try:
        read()
    except EngineUnavailable as error:
        assert "ver_1" not in error.message


@each_request
@given(data=st.data())
def test_a_damaged_answer_is_ours_or_an_error(request_: GenerationRequest, data: st.DataObject) -> None:
    whole = answer_of(request_)
    body = damaged(whole, data.draw(st.sampled_from(places(whole))), data.draw(JSON))

    def read() -> None:
        answer, outcome = request_.answer(orjson.dumps(body), NAMES)
        assert (answer["id"], answer["model"]) == ("our-id", "default")
        assert isinstance(outcome.text, str) and orjson.dumps(answer)

    never_fails(read)


@each_request
@given(body=st.binary(max_size=40) | JSON.map(orjson.dumps))
def test_what_is_no_answer_is_an_error_or_ours(request_: GenerationRequest, body: bytes) -> None:
    never_fails(lambda: request_.answer(body, NAMES))


@each_request
@given(data=st.data())
def test_a_damaged_stream_is_read_to_its_end(request_: GenerationRequest, data: st.DataObject) -> None:
    events = events_of(request_)
    at = data.draw(st.integers(0, len(events) - 1))
    events[at] = damaged(events[at], data.draw(st.sampled_from(places(events[at]))), data.draw(JSON))
    renamer = request_.renamer(NAMES, keep_text=True)
    for event in events:
        kind = event.get("type", "x") if isinstance(event, dict) else "x"
        head = f"event: {kind}\n".encode() if request_.path == "/v1/responses" else b""
        renamer.feed(head + b"data: " + orjson.dumps(event) + b"\n\n")
    assert isinstance(renamer.outcome().text, str)
    assert isinstance(renamer.closing(), bytes)


@each_request
@given(
    chunks=st.lists(
        st.binary(max_size=30) | st.sampled_from([b"\n\n", b"data: ", b'data: {"error"', b"event: error\n"])
    )
)
def test_noise_in_a_stream_is_read_to_its_end(request_: GenerationRequest, chunks: list[bytes]) -> None:
    renamer = request_.renamer(NAMES, keep_text=True)
    for chunk in chunks:
        renamer.feed(chunk)
    assert isinstance(renamer.outcome().text, str)
    assert not renamer.done or b"[DONE]" in b"".join(chunks)
