"""The completions endpoint over real sockets."""

import asyncio
import json

import pytest

from tests.unit.gateway.conftest import HIT, Bench
from tests.waiting import until


async def test_an_answer_carries_our_names_and_nothing_of_the_engine(bench: Bench) -> None:
    response = await bench.complete()
    answer = response.json()
    assert (answer["object"], answer["model"], answer["id"][:5]) == ("text_completion", "default", "cmpl-")
    assert answer["choices"][0]["text"] == "Hello there"
    assert {"prompt_token_ids", "prompt_logprobs"}.isdisjoint(answer["choices"][0])
    assert "ver_1" not in response.text + str(response.headers) and "upstream" not in response.text
    assert response.headers["x-graft-version"] == "default@v1"
    assert bench.engine.asked[0]["model"] == "ver_1"


async def test_a_stream_carries_our_names_and_ends(bench: Bench) -> None:
    response = await bench.complete(stream=True)
    *chunks, done = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert done == "[DONE]"
    assert {json.loads(chunk)["model"] for chunk in chunks} == {"default"}
    assert "".join(json.loads(chunk)["choices"][0]["text"] for chunk in chunks) == "Hello there"
    assert "usage" not in response.text and "upstream" not in response.text


async def test_context_goes_in_front_of_a_text(bench: Bench) -> None:
    bench.memories.by_tenant["ten_acme"] = HIT
    response = await bench.complete()
    prompt = bench.engine.asked[0]["prompt"]
    assert "The approved answer." in prompt and prompt.endswith("\n\nHello?")
    assert response.headers["x-graft-memory"] == "fb_1"


async def test_one_text_in_a_list_is_a_text(bench: Bench) -> None:
    bench.memories.by_tenant["ten_acme"] = HIT
    await bench.complete(prompt=["Hello?"])
    assert bench.engine.asked[0]["prompt"].endswith("\n\nHello?")


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": ["Hello?", "Bye?"]},
        {"prompt": [1, 2, 3]},
        {"prompt": [[1, 2, 3]]},
        {"prompt": "Hello?", "echo": True},
    ],
)
async def test_several_prompts_token_ids_and_echoes_go_as_they_are(bench: Bench, body: dict) -> None:
    bench.memories.by_tenant["ten_acme"] = HIT
    response = await bench.complete(**body)
    assert bench.engine.asked[0]["prompt"] == body["prompt"]
    assert response.headers["x-graft-memory"] == ""


async def test_the_journal_holds_the_prompt_as_what_the_user_said(bench: Bench) -> None:
    bench.memories.by_tenant["ten_acme"] = HIT
    response = await bench.complete()
    (entry,) = bench.journal.written
    assert (entry.id, entry.response) == (response.json()["id"], "Hello there")
    assert list(entry.messages) == [{"role": "user", "content": "Hello?"}]


async def test_several_prompts_leave_no_text_in_the_journal(bench: Bench) -> None:
    await bench.complete(prompt=["Hello?", "Bye?"])
    assert (list(bench.journal.written[0].messages), bench.journal.written[0].response) == ([], "")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": ["a", 1]}, "prompt"),
        ({"prompt": [True]}, "prompt"),
        ({"prompt": ["a"] * 65}, "prompt"),
        ({"prompt": ["a"] * 33, "n": 2}, "n"),
        ({"model": ""}, "model"),
    ],
)
async def test_a_wrong_field_is_named(bench: Bench, body: dict, param: str) -> None:
    response = await bench.complete(**body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)
    assert bench.engine.asked == []


async def test_a_client_that_leaves_stops_every_prompt(bench: Bench) -> None:
    bench.engine.hold = asyncio.Event()
    request = asyncio.create_task(bench.complete(prompt=["a", "b"]))
    await until(lambda: bench.engine.waiting == 1)
    request.cancel()
    await until(lambda: len(bench.engine.aborted) == 2)
    sent = bench.engine.headers[0]["x-request-id"]
    assert bench.engine.aborted == [f"cmpl-{sent}-0", f"cmpl-{sent}-1"]


async def test_another_tenants_version_is_not_found(bench: Bench) -> None:
    response = await bench.complete(bench.globex, model="default@v1")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")
