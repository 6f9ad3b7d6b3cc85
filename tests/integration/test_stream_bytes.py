"""What a client of a stream gets is what the real engine sent, byte for byte, but for the renaming. The engine's own
bytes are those that went by on the wire between gateway and engine."""

import asyncio
import http.client
import io
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from deploy.demo.serving import RunningEngine
from tests.integration.gateway_house import Customer, house
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

QUESTION = "What does the Zorvia starter plan cost per month?"
MODEL = re.compile(rb'"model":"[^"]*"')
FINGERPRINT = re.compile(rb',"system_fingerprint":"[^"]*"')
USAGE = {"stream_options": {"include_usage": True}}
SCHEMA = {"type": "object", "properties": {"yes": {"type": "boolean"}}, "required": ["yes"]}
LOOK = {"name": "look", "strict": True, "parameters": {**SCHEMA, "additionalProperties": False}}
CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": QUESTION}], "max_tokens": 12}
TEXT: dict[str, Any] = {"prompt": [QUESTION, "Zorvia"], "max_tokens": 8, "logprobs": 1}
ASKED: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("chat/completions", CHAT),
    "chat, usage": ("chat/completions", {**CHAT, **USAGE}),
    "chat, choices": ("chat/completions", {**CHAT, "n": 2, "logprobs": True, "top_logprobs": 1}),
    "chat, tools": (
        "chat/completions",
        {
            **CHAT,
            "tools": [{"type": "function", "function": LOOK}],
            "tool_choice": "required",
            "max_tokens": 40,
            "temperature": 0,
        },
    ),
    "completions": ("completions", TEXT),
    "completions, usage": ("completions", {**TEXT, **USAGE}),
}
ANSWERED: dict[str, dict[str, Any]] = {
    "text": {"max_output_tokens": 12},
    "tools": {
        "max_output_tokens": 40,
        "tools": [{"type": "function", **LOOK}],
        "tool_choice": "required",
        "temperature": 0,
    },
}
WHOLE = ("response.created", "response.in_progress", "response.completed")
"""Events that hold the whole response object, which is written anew."""


@dataclass
class Tap:
    """Stands between gateway and engine, and keeps what the engine says."""

    port: int
    said: bytearray = field(default_factory=bytearray)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_engine, to_engine = await asyncio.open_connection("127.0.0.1", self.port)
        await asyncio.gather(
            self._pass(reader, to_engine, bytearray()), self._pass(from_engine, writer, self.said)
        )

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray
    ) -> None:
        with suppress(ConnectionError):
            while piece := await reader.read(65536):
                kept += piece
                writer.write(piece)
                await writer.drain()
        writer.close()

    def body(self) -> bytes:
        """Of the one answer that was said."""
        said = bytes(self.said)

        class Said:
            def makefile(self, *_: object) -> io.BytesIO:
                return io.BytesIO(said)

        response = http.client.HTTPResponse(cast(Any, Said()))
        response.begin()
        return response.read()


@asynccontextmanager
async def tapping(engine: RunningEngine) -> AsyncIterator[tuple[Tap, str]]:
    tap = Tap(urlsplit(engine.url).port or 0)
    server = await asyncio.start_server(tap, "127.0.0.1", 0)
    try:
        yield tap, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tapped(
    engine: RunningEngine, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Tap, Customer]]:
    directory: Path = tmp_path_factory.mktemp("house")
    async with (
        tapping(engine) as (tap, url),
        house(directory, url, engine.token, searching=False) as built,
        built.customer("acme") as acme,
    ):
        yield tap, acme


async def both(tapped: tuple[Tap, Customer], path: str, body: dict[str, Any]) -> tuple[bytes, bytes]:
    """What the engine said, and what the client got."""
    tap, acme = tapped
    tap.said.clear()
    asked = {"model": "default", "temperature": 1, "stream": True, **body}
    headers = {"x-memory": "off", "x-retrieval": "off"}
    response = await acme.client.post(f"/v1/{path}", json=asked, headers=headers)
    assert response.status_code == 200
    await until(lambda: _ended(tap))
    return tap.body(), response.content


async def _ended(tap: Tap) -> bool:
    return tap.said.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("kind", ASKED)
async def test_a_stream_is_the_engines_but_for_its_names(tapped: tuple[Tap, Customer], kind: str) -> None:
    path, body = ASKED[kind]
    theirs, ours = await both(tapped, path, body)
    *events, usage, done, nothing = theirs.split(b"\n\n")
    assert b'"choices":[],"usage":{' in usage and nothing == b"" and len(events) > 1
    assert (b'"tool_calls":[{' in theirs) == ("tools" in body)
    shown = [*events, FINGERPRINT.sub(b"", usage)] if "stream_options" in body else events
    assert ours == b"\n\n".join([*(MODEL.sub(b'"model":"default"', each) for each in shown), done, b""])


@pytest.mark.parametrize("kind", ANSWERED)
async def test_a_responses_events_are_the_engines_but_for_the_object(
    tapped: tuple[Tap, Customer], kind: str
) -> None:
    sent, got = await both(tapped, "responses", {"input": QUESTION, **ANSWERED[kind]})
    theirs, ours = sent.split(b"\n\n"), got.split(b"\n\n")
    assert len(theirs) == len(ours) > 6
    for one, other in zip(theirs, ours, strict=True):
        if one.removeprefix(b"event: ").split(b"\n")[0].decode() not in WHOLE:
            assert other == one
            continue
        (head, said), (name, shown) = one.split(b"\ndata: "), other.split(b"\ndata: ")
        engines, mine = json.loads(said), json.loads(shown)
        assert (head, engines["sequence_number"]) == (name, mine["sequence_number"])
        changed = {key for key, value in mine["response"].items() if engines["response"].get(key) != value}
        assert changed <= {"model", "store"} and mine["response"]["model"] == "default"
