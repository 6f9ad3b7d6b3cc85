"""The responses endpoint over real sockets, its state in a real SQLite."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from sqlalchemy.exc import OperationalError

from tests.unit.gateway.conftest import HIT, Bench
from tests.waiting import until

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Hello?"}


def events(response: httpx.Response) -> list[dict[str, Any]]:
    return [
        json.loads(event.partition("data: ")[2]) for event in response.text.split("\n\n") if "data" in event
    ]


async def test_an_answer_carries_our_names_and_nothing_that_was_composed(bench: Bench) -> None:
    bench.memories.by_tenant["ten_acme"] = HIT
    response = await bench.respond(instructions="Be brief.")
    answer = response.json()
    assert (answer["model"], answer["id"][:5], answer["store"]) == ("default", "resp_", True)
    assert answer["instructions"] == "Be brief."
    assert "input_messages" not in answer and "ver_1" not in response.text
    assert "approved" not in response.text
    assert response.headers["x-graft-memory"] == "fb_1"


async def test_the_engine_stores_nothing_and_gets_the_context_in_the_instructions(bench: Bench) -> None:
    bench.memories.by_tenant["ten_acme"] = HIT
    await bench.respond(instructions="Be brief.", store=True, request_id="forged")
    (asked,) = bench.engine.asked
    assert asked["instructions"].startswith("Be brief.\n") and "The approved answer." in asked["instructions"]
    assert (asked["store"], asked["cache_salt"], asked["model"]) == (False, "salt-acme", "ver_1")
    assert asked["request_id"] == f"resp_{bench.engine.headers[0]['x-request-id']}"


async def test_without_instructions_the_context_goes_into_the_leading_system_message(bench: Bench) -> None:
    bench.memories.by_tenant["ten_acme"] = HIT
    await bench.respond(input=[SYSTEM, USER])
    (asked,) = bench.engine.asked
    assert asked["input"][0]["content"].startswith("Be brief.\n")
    assert "approved" in asked["input"][0]["content"]
    assert "instructions" not in asked


async def test_without_either_the_context_becomes_the_instructions(bench: Bench) -> None:
    bench.memories.by_tenant["ten_acme"] = HIT
    answer = (await bench.respond()).json()
    assert "approved" in bench.engine.asked[0]["instructions"]
    assert answer["instructions"] is None


async def test_a_next_turn_gets_the_turns_before_it_without_their_instructions(bench: Bench) -> None:
    first = (await bench.respond(instructions="Be brief.")).json()
    second = (await bench.respond(input="And then?", previous_response_id=first["id"])).json()
    third = (await bench.respond(input="Why?", previous_response_id=second["id"])).json()
    said = [item["content"] if item["role"] == "user" else "…" for item in bench.engine.asked[2]["input"]]
    assert said == ["Hello?", "…", "And then?", "…", "Why?"]
    assert bench.engine.asked[1].get("instructions") is None
    assert "previous_response_id" not in bench.engine.asked[1]
    assert third["previous_response_id"] == second["id"]


async def test_a_conversation_goes_on_after_an_answer_without_a_word(bench: Bench) -> None:
    """vLLM answers 500 to a message of the assistant's that has no content."""
    bench.engine.words = ()
    first = (await bench.respond()).json()
    assert first["output"][0]["content"] == []
    await bench.respond(input="And then?", previous_response_id=first["id"])
    await bench.respond(input=[USER, *first["output"], {"role": "user", "content": "And then?"}])
    said = [[item["content"] for item in asked["input"]] for asked in bench.engine.asked[1:]]
    assert said == [["Hello?", "And then?"]] * 2


async def test_the_engine_gets_all_parts_of_what_the_assistant_said(bench: Bench) -> None:
    """vLLM reads the first one alone, and of a refusal nothing."""
    parts = [{"type": "output_text", "text": "One."}, {"type": "output_text", "text": "Two."}]
    refused = [{"type": "refusal", "refusal": "No."}]
    said = [{"type": "message", "role": "assistant", "content": content} for content in (parts, refused)]
    await bench.respond(input=[USER, *said, {**said[0], "content": parts[:1]}, USER])
    _, first, second, third, _ = bench.engine.asked[0]["input"]
    texts = [[part["text"] for part in item["content"]] for item in (first, second, third)]
    assert texts == [["One.Two."], ["No."], ["One."]]
    assert {item["content"][0]["type"] for item in (first, second, third)} == {"output_text"}


async def test_an_input_that_says_nothing_is_refused(bench: Bench) -> None:
    answer = await bench.respond(input=[{"type": "message", "role": "assistant", "content": []}])
    assert (answer.status_code, answer.json()["error"]["param"], bench.engine.asked) == (400, "input", [])


async def test_a_stream_carries_our_names_and_is_kept_when_it_ends(bench: Bench) -> None:
    bench.memories.by_tenant["ten_acme"] = HIT
    response = await bench.respond(stream=True, instructions="Be brief.")
    found = events(response)
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    assert "".join(event["delta"] for event in found if "delta" in event) == "Hello there"
    assert {event["response"]["model"] for event in found if "response" in event} == {"default"}
    assert {event["response"]["instructions"] for event in found if "response" in event} == {"Be brief."}
    assert "ver_1" not in response.text and "approved" not in response.text
    last = found[-1]
    assert (last["type"], last["response"]["store"]) == ("response.completed", True)
    assert (await bench.fetch(last["response"]["id"])).json() == last["response"]
    assert (bench.journal.written[0].response, bench.journal.written[0].usage["total_tokens"]) == (
        "Hello there",
        9,
    )


async def test_a_stream_that_breaks_off_ends_with_an_error_event_and_is_not_kept(bench: Bench) -> None:
    bench.engine.break_after = 5
    response = await bench.respond(stream=True)
    found = events(response)
    assert found[-1]["type"] == "error"
    assert found[-1]["code"] == found[-1]["error"]["code"] == "engine_unavailable"
    assert found[-1]["sequence_number"] == 5
    assert (await bench.fetch(found[0]["response"]["id"])).status_code == 404
    await until(lambda: bool(bench.journal.written))
    assert bench.journal.written[0].status == 503


async def test_the_journal_holds_the_conversation_in_chats_shape(bench: Bench) -> None:
    call = {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c1", "output": "30 days"}
    parts = [{"type": "input_text", "text": "Hello?"}]
    await bench.respond(instructions="Be brief.", input=[{"role": "user", "content": parts}, call, output])
    messages = list(bench.journal.written[0].messages)
    assert messages[:2] == [SYSTEM, USER]
    assert messages[2]["tool_calls"][0]["function"] == {"name": "look", "arguments": "{}"}
    assert messages[3] == {"role": "tool", "content": "30 days", "tool_call_id": "c1"}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": [5]}, "input[0]"),
        ({"input": [{"content": "x"}]}, "input[0]"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]"),
        ({"input": [{"type": ["message"], "role": "user"}]}, "input[0]"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "http://x"}]}]},
            "input[0].content",
        ),
        (
            {
                "input": [
                    {"type": "function_call_output", "output": [{"type": "input_file", "file_url": "x"}]}
                ]
            },
            "input[0].output",
        ),
        ({"tools": [{"type": "mcp", "server_url": "http://x"}]}, "tools"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"tools": "all"}, "tools"),
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"store": "yes"}, "store"),
        ({"instructions": ["x"]}, "instructions"),
        ({"previous_response_id": 5}, "previous_response_id"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
    ],
)
async def test_a_wrong_field_is_named(bench: Bench, body: dict, param: str) -> None:
    response = await bench.respond(**body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)
    assert bench.engine.asked == []


async def test_a_client_that_leaves_stops_the_engine(bench: Bench) -> None:
    bench.engine.hold = asyncio.Event()
    request = asyncio.create_task(bench.respond())
    await until(lambda: bench.engine.waiting == 1)
    request.cancel()
    await until(lambda: bool(bench.engine.aborted))
    assert bench.engine.aborted == [f"{bench.engine.asked[0]['request_id']}_0"]


class Down:
    """A record that cannot be reached."""

    def begin(self) -> None:
        raise OperationalError("connect", {}, Exception("down"))

    connect = begin


async def test_an_answer_is_given_without_the_record_and_says_that_it_was_not_kept(bench: Bench) -> None:
    bench.responses._engine = Down()  # type: ignore[assignment]
    whole, streamed = await bench.respond(), await bench.respond(stream=True)
    assert (whole.status_code, whole.json()["store"]) == (200, False)
    assert events(streamed)[-1]["response"]["store"] is False


async def test_what_needs_the_record_says_that_it_is_down(bench: Bench) -> None:
    bench.responses._engine = Down()  # type: ignore[assignment]
    for response in (
        await bench.fetch("resp_1"),
        await bench.respond(previous_response_id="resp_1"),
    ):
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")


async def test_chat_and_completions_need_no_record(bench: Bench) -> None:
    bench.responses._engine = None  # type: ignore[assignment]
    assert [(await bench.chat()).status_code, (await bench.complete()).status_code] == [200, 200]
