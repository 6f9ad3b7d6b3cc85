"""What vLLM's answers are turned into. The engine itself answers in tests/integration/test_adapters_vllm.py."""

import asyncio
import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.errors import EngineRefused, EngineUnavailable
from adapters.slot_table import Word
from adapters.slots import Slots
from adapters.testing import MemorySlots
from adapters.vllm import PLUGIN, VllmEngine

MESSAGES = [{"role": "user", "content": "Hello"}]


def engine(
    status: int = 200,
    json: Any = None,
    text: str | None = None,
    seen: list[Any] | None = None,
    plugin: bool = False,
) -> VllmEngine:
    """Answers every request so; without our plugin, 404 to what is under its routes."""

    def answer(request: httpx.Request) -> httpx.Response:
        if seen is not None:
            seen.append(request)
        if request.url.path.startswith(PLUGIN) and not plugin:
            return httpx.Response(404, json={"detail": "Not Found"})
        return httpx.Response(status, text=text) if text is not None else httpx.Response(status, json=json)

    return VllmEngine("http://engine/", "secret", httpx.AsyncClient(transport=httpx.MockTransport(answer)))


async def test_the_token_is_sent() -> None:
    seen: list[httpx.Request] = []
    await engine(text="ok", seen=seen).load("ver_1", Path("/a"))
    assert seen[0].headers["authorization"] == "Bearer secret"


async def test_loading_what_is_loaded_is_no_error() -> None:
    message = "The lora adapter 'ver_1' has already been loaded. If you want to load …"
    await engine(400, {"error": {"message": message}}).load("ver_1", Path("/a"))


async def test_a_refused_load_quotes_the_engine() -> None:
    with pytest.raises(EngineRefused, match="LoRA rank 64 is greater") as caught:
        await engine(500, {"error": {"message": "LoRA rank 64 is greater than 16"}}).load("ver_1", Path("/a"))
    assert caught.value.status == 500


async def test_unloading_what_is_gone_is_no_error() -> None:
    await engine(404, {"error": {"message": "cannot be found"}}).unload("ver_1")


async def test_a_plugin_that_unloads_is_asked_nothing_else() -> None:
    seen: list[httpx.Request] = []
    await engine(200, {"removed": True}, seen=seen, plugin=True).unload("ver_1")
    assert [(each.method, each.url.path) for each in seen] == [("DELETE", "/graft/versions/ver_1")]


async def test_a_refused_unload_is_an_error() -> None:
    with pytest.raises(EngineRefused):
        await engine(401, {"error": "Unauthorized"}).unload("ver_1")


async def test_the_base_model_is_not_among_the_resident_versions() -> None:
    models = [{"id": "base", "parent": None}, {"id": "ver_1", "parent": "base"}]
    assert await engine(200, {"data": models}).resident() == {"ver_1"}


async def test_an_engine_that_does_not_answer_is_unavailable() -> None:
    async with httpx.AsyncClient() as http:
        nobody = VllmEngine("http://127.0.0.1:9", "", http)
        assert not await nobody.healthy()
        with pytest.raises(EngineUnavailable):
            await nobody.resident()


@asynccontextmanager
async def dropping(drops: int) -> AsyncIterator[VllmEngine]:
    """A server that closes its first connections under the request, and answers the later ones."""
    left = drops

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal left
        await reader.readuntil(b"\r\n\r\n")
        left -= 1
        if left < 0:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server, httpx.AsyncClient() as http:
        port = server.sockets[0].getsockname()[1]
        yield VllmEngine(f"http://127.0.0.1:{port}", "", http)


async def test_a_dropped_connection_is_tried_again() -> None:
    async with dropping(1) as replica:
        assert await replica.healthy()


async def test_an_engine_that_drops_twice_is_unavailable() -> None:
    async with dropping(2) as replica:
        with pytest.raises(EngineUnavailable):
            await replica.chat("base", MESSAGES, 4)


async def test_a_sick_engine_is_not_healthy() -> None:
    assert not await engine(503, text="").healthy()


async def test_an_error_that_is_not_json_is_quoted_as_it_is() -> None:
    with pytest.raises(EngineRefused, match="Bad Gateway"):
        await engine(502, text="Bad Gateway").chat("base", MESSAGES, 4)


GARBAGE = ("", "<html>Welcome</html>", "[]", "null", "{}", '{"data": 1}', '{"data": [1]}', '{"data": null}')


@pytest.mark.parametrize("plugin", [True, False])
@pytest.mark.parametrize("text", GARBAGE)
async def test_an_answer_that_is_no_list_of_versions_is_an_engine_that_cannot_be_had(
    text: str, plugin: bool
) -> None:
    """As when something else listens in its place."""
    with pytest.raises(EngineUnavailable, match="cannot be read"):
        await engine(text=text, plugin=plugin).holding()


@pytest.mark.parametrize("text", [*GARBAGE, '{"choices": [], "usage": {}}', '{"choices": [{"index": "x"}]}'])
async def test_an_answer_that_is_no_completion_is_an_engine_that_cannot_be_had(text: str) -> None:
    with pytest.raises(EngineUnavailable, match="cannot be read"):
        await engine(text=text).chat("base", MESSAGES, 4)


async def test_choices_come_in_their_order() -> None:
    choices = [{"index": i, "message": {"content": text}} for i, text in [(1, "b"), (0, "a"), (2, None)]]
    usage = {"prompt_tokens": 3, "completion_tokens": 6}
    answer = await engine(200, {"choices": choices, "usage": usage}).chat("base", MESSAGES, 4, n=3)
    assert (answer.texts, answer.prompt_tokens, answer.completion_tokens) == (["a", "b", ""], 3, 6)
    assert answer.first_token_logprobs is None


async def test_first_tokens_that_print_alike_are_told_apart() -> None:
    """Pieces of characters all print as one replacement mark, and their bytes are that mark's."""
    seen: list[httpx.Request] = []
    mark = list("�".encode())
    top = [{"token": f"token_id:{n}", "bytes": mark, "logprob": value} for n, value in ((5, -1.0), (6, None))]
    choice = {"index": 0, "message": {"content": "€"}, "logprobs": {"content": [{"top_logprobs": top}]}}
    answer = await engine(200, {"choices": [choice], "usage": {"prompt_tokens": 1}}, seen=seen).chat(
        "base", MESSAGES, 1, top_logprobs=2
    )
    assert json.loads(seen[0].content)["return_tokens_as_token_ids"]
    assert answer.first_token_logprobs is not None
    assert answer.first_token_logprobs["token_id:5"] == -1.0
    assert math.isnan(answer.first_token_logprobs["token_id:6"])


DIGEST = f"sha256:{'0' * 64}"


async def test_a_vanilla_vllm_cannot_fetch() -> None:
    assert not await engine().pull("ver_1", DIGEST)


async def test_a_plugin_without_a_store_cannot_fetch() -> None:
    assert not await engine(501, {"error": {"message": "no store"}}, plugin=True).pull("ver_1", DIGEST)


async def test_a_plugin_fetches_what_the_digest_names() -> None:
    seen: list[httpx.Request] = []
    assert await engine(200, {"loaded": True}, seen=seen, plugin=True).pull("ver_1", DIGEST)
    assert (seen[0].method, seen[0].url.path) == ("PUT", "/graft/versions/ver_1")
    assert DIGEST in seen[0].content.decode()


async def test_a_store_that_is_away_may_be_back_later() -> None:
    with pytest.raises(EngineUnavailable, match="store is away"):
        await engine(503, {"error": {"message": "the store is away"}}, plugin=True).pull("ver_1", DIGEST)


async def test_a_corrupt_artifact_is_refused_for_good() -> None:
    with pytest.raises(EngineRefused) as caught:
        await engine(422, {"error": {"message": "corrupt"}}, plugin=True).pull("ver_1", DIGEST)
    assert caught.value.status == 422


async def test_what_memory_still_holds_is_resident_with_the_plugin() -> None:
    held = [
        {"id": "ver_1", "servable": True, "pinned": True},
        {"id": "ver_2", "servable": False, "pinned": False},
        {"id": None, "servable": False, "pinned": False},
    ]
    holding = await engine(200, {"data": held}, plugin=True).holding()
    assert (holding.resident, holding.serving) == ({"ver_1", "ver_2"}, {"ver_1"})
    assert holding.pinned == {"ver_1"}


async def test_a_vanilla_vllm_cannot_pin() -> None:
    assert (await engine(200, {"data": []}).holding()).pinned is None
    with pytest.raises(EngineRefused) as caught:
        await engine().pin("ver_1")
    assert caught.value.status == 404


async def test_functions_are_offered_and_a_call_comes_as_text() -> None:
    seen: list[httpx.Request] = []
    answered = {
        "choices": [{"index": 0, "message": {"content": "<tool_call>"}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1},
    }
    tools = [{"type": "function", "function": {"name": "look_up"}}]
    asked = engine(json=answered, seen=seen)
    for offered in (tools, []):
        await asked.chat("base", MESSAGES, 8, tools=offered)
    bodies = [json.loads(request.content) for request in seen]
    assert (bodies[0]["tools"], bodies[0]["tool_choice"]) == (tools, "none")
    assert not bodies[1].keys() & {"tools", "tool_choice"}


ANSWER = {
    "choices": [{"index": 0, "message": {"content": "Hello"}}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1},
}


async def slotted(status: int, json: Any, count: int = 1) -> tuple[VllmEngine, MemorySlots]:
    ledger = MemorySlots({}, count)
    slots = Slots(ledger, ["http://engine"], count, lambda: 1, 10, 0.05, keep=False)
    http = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(status, json=json)))
    return VllmEngine("http://engine/", "", http, slots=slots), ledger


async def test_a_version_is_asked_while_its_slot_is_held_and_the_base_model_without() -> None:
    asked, ledger = await slotted(200, ANSWER)
    await asked.chat("base", MESSAGES, 1)
    assert not ledger.words
    await asked.chat("ver_1", MESSAGES, 1)
    assert list(ledger.words[0].wanted) == ["ver_1"]


async def test_a_slot_that_does_not_come_free_is_an_engine_that_cannot_be_had() -> None:
    asked, ledger = await slotted(200, ANSWER)
    ledger.live.add("w_1")
    await MemorySlots(ledger.tables, 1, "w_1", ledger.live).exchange("http://engine", Word((), {"a": 0.0}))
    with pytest.raises(EngineUnavailable, match="no slot"):
        await asked.chat("ver_1", MESSAGES, 1)


async def test_a_failed_question_gives_its_slot_back() -> None:
    asked, ledger = await slotted(500, {})
    with pytest.raises(EngineRefused):
        await asked.chat("ver_1", MESSAGES, 1)
    await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))
    assert not ledger.tables["http://engine"].held
