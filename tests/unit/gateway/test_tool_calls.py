"""The outcome of an answer that calls tools: what the journal keeps of it."""

import json
from typing import Any

import pytest

from gateway.chat_request import ChatRequest
from gateway.protocol import Names
from gateway.response_request import outcome_of

NAMES = Names("chatcmpl-our", "default", "ver_1")
REQUEST = ChatRequest.parse(b'{"model": "default", "messages": [{"role": "user", "content": "Refund it."}]}')
FIRST = '<tool_call>\n{"name":"refund","arguments":{"order":7}}\n</tool_call>'
SECOND = '<tool_call>\n{"name":"tell","arguments":{}}\n</tool_call>'


def call(index: int, name: str | None, arguments: str) -> dict[str, Any]:
    function = {"arguments": arguments} if name is None else {"name": name, "arguments": arguments}
    return {"index": index, "id": f"call_{index}", "type": "function", "function": function}


def event(index: int = 0, **delta: object) -> bytes:
    body = {"id": "chatcmpl-up", "model": "ver_1", "choices": [{"index": index, "delta": delta}]}
    return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"


def test_a_whole_answer() -> None:
    calls = [call(0, "refund", '{"order": 7}'), call(1, "tell", "{}")]
    message = {"role": "assistant", "content": None, "tool_calls": calls, "reasoning": None}
    body = {"id": "x", "model": "ver_1", "choices": [{"index": 0, "message": message}]}
    answer, outcome = REQUEST.answer(json.dumps(body).encode(), NAMES)
    assert outcome.text == f"{FIRST}\n{SECOND}"
    assert answer["choices"][0]["message"]["tool_calls"] == calls


@pytest.mark.parametrize("cut", [1, 7, 10_000])
def test_a_stream_whose_calls_come_in_pieces(cut: int) -> None:
    events = (
        event(role="assistant", content="Well."),
        event(tool_calls=[call(0, "refund", "")]),
        event(index=1, tool_calls=[call(0, "another_choice", "{}")]),
        event(tool_calls=[call(0, None, '{"or')]),
        event(tool_calls=[call(1, "tell", "{}")]),
        event(tool_calls=[call(0, None, 'der": 7}')]),
        b"data: [DONE]\n\n",
    )
    sent = b"".join(events)
    renamer = REQUEST.renamer(NAMES, keep_text=True)
    for start in range(0, len(sent), cut):
        renamer.feed(sent[start : start + cut])
    assert renamer.outcome().text == f"Well.\n{FIRST}\n{SECOND}"


def test_a_response() -> None:
    output = [
        {"type": "message", "content": [{"type": "output_text", "text": "Well."}]},
        {"type": "function_call", "name": "refund", "arguments": '{"order": 7}', "call_id": "call_0"},
    ]
    assert outcome_of({"output": output}).text == f"Well.\n{FIRST}"
