"""An engine fetches nothing for a tenant: a part of a message is text, and nothing beside it."""

import json

import pytest

from gateway.chat_request import TEXT_PARTS, ChatRequest
from gateway.errors import InvalidRequest
from gateway.parts import MEDIA
from gateway.response_request import PARTS, ResponseRequest
from training.types import question_of

URL = {"url": "http://169.254.169.254/latest"}


def chat(part: object) -> ChatRequest:
    body = {"model": "default", "messages": [{"role": "user", "content": [part]}]}
    return ChatRequest.parse(json.dumps(body).encode())


def response(part: object, **item: object) -> ResponseRequest:
    body = {"model": "default", "input": [{"role": "user", "content": [part], **item}]}
    return ResponseRequest.parse(json.dumps(body).encode())


@pytest.mark.parametrize("field", sorted(MEDIA))
def test_a_text_that_brings_something_else_is_refused(field: str) -> None:
    """With a `uuid` beside it vLLM takes the medium, whatever the part's type."""
    for parse, kind in ((chat, "text"), (response, "input_text")):
        with pytest.raises(InvalidRequest) as error:
            parse({"type": kind, "text": "Look", field: URL})
        assert error.value.param is not None and error.value.param.endswith("[0].content")


@pytest.mark.parametrize(
    "part", [{"type": "image_url", "image_url": URL}, {"image_url": URL}, {}, 5, "text", None]
)
def test_what_is_no_text_is_refused(part: object) -> None:
    for parse in (chat, response):
        with pytest.raises(InvalidRequest):
            parse(part)


@pytest.mark.parametrize("kind", sorted(TEXT_PARTS))
def test_text_of_any_kind_passes_with_what_is_said_about_it(kind: str) -> None:
    part = {"type": kind, "text": "Hello?", "cache_control": {"type": "ephemeral"}}
    assert chat(part).composed("", "abc")["messages"][0]["content"] == [part]


@pytest.mark.parametrize("kind", sorted(PARTS))
def test_text_of_a_response_passes(kind: str) -> None:
    part = {"type": kind, "text": "Hello?", "annotations": [], "logprobs": []}
    assert response(part).composed("", "abc")["input"][0]["content"] == [part]


def test_a_question_is_read_from_either_kind_of_text() -> None:
    parts = [{"type": "text", "text": "One?"}, {"type": "input_text", "text": "Two?"}]
    assert question_of([{"role": "user", "content": parts}]) == "One?\nTwo?"
