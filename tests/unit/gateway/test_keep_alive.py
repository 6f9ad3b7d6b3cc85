"""Comments in a stream while the engine is silent."""

import asyncio

import pytest

from gateway.keep_alive import COMMENT, KeepAlive
from tests.unit.gateway.conftest import Bench
from tests.waiting import until


@pytest.mark.parametrize("ask", ["chat", "complete", "respond"])
async def test_a_silent_stream_gets_comments_between_whole_events(bench: Bench, ask: str) -> None:
    bench.engine.hold = asyncio.Event()
    request = asyncio.create_task(getattr(bench, ask)(stream=True))
    await until(lambda: bench.engine.waiting == 1)
    await asyncio.sleep(0.12)
    bench.engine.hold.set()
    text = (await request).text
    parts = text.split("\n\n")
    assert parts.count(": keep-alive") >= 2
    assert all(part == ": keep-alive" or "data: " in part for part in parts if part)


async def test_a_stream_that_speaks_gets_none(bench: Bench) -> None:
    assert ": keep-alive" not in (await bench.chat(stream=True)).text


async def test_a_client_that_does_not_read_is_not_sent_more() -> None:
    sent: list[bytes] = []

    async def send(message: dict) -> None:
        sent.append(message["body"])
        await asyncio.Event().wait()

    with KeepAlive(send, 0.01):
        await asyncio.sleep(0.08)
    assert sent == [COMMENT]


async def test_nothing_is_sent_after_the_end() -> None:
    sent: list[bytes] = []

    async def send(message: dict) -> None:
        sent.append(message["body"])

    with KeepAlive(send, 0.01):
        pass
    await asyncio.sleep(0.05)
    assert sent == []
