"""A body that goes to a sink in the moment in which it comes."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.engine_connection import READ_AHEAD, BrokenOff
from gateway.errors import EngineUnavailable
from tests.unit.gateway.raw_engine import CHUNKED, Peer, peer
from tests.waiting import until


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.binary(min_size=1, max_size=30), min_size=1, max_size=6),
    st.integers(1, 40),
    st.lists(st.booleans()),
)
async def test_a_body_pours_whole_into_a_sink_that_is_full_now_and_then(
    chunks: list[bytes], size: int, room: list[bool]
) -> None:
    sent = CHUNKED + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    taken: list[bytes] = []
    full = False

    def take(piece: bytes) -> bool:
        nonlocal full
        assert not full
        taken.append(piece)
        full = bool(room) and not room.pop()
        return not full

    async def drained() -> None:
        nonlocal full
        await asyncio.sleep(0.001)
        full = False

    async with peer(Peer(*[sent[at : at + size] for at in range(0, len(sent), size)])) as origin:
        with await origin.ask("POST", "/", {}, b"{}") as answer:
            await answer.pour(take, drained)
    assert b"".join(taken) == b"".join(chunks)


async def test_an_engine_waits_for_a_sink_that_stays_full() -> None:
    wrote = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal wrote
        await reader.readuntil(b"{}")
        writer.write(CHUNKED)
        while True:
            writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            await writer.drain()
            wrote += 0x10000

    async with peer(talk) as origin:
        with await origin.ask("POST", "/", {}, b"{}") as answer:
            pouring = asyncio.create_task(answer.pour(lambda _: False, asyncio.Event().wait))
            await until(lambda: wrote > 0)
            before = -1
            while before < wrote:
                before = wrote
                await asyncio.sleep(0.2)
            assert wrote < 64 * 2**20
            pouring.cancel()


async def test_what_a_sink_raises_ends_the_pouring() -> None:
    more = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(CHUNKED)
        await more.wait()
        writer.write(b"2\r\nab\r\n")
        await asyncio.Event().wait()

    def take(_: bytes) -> bool:
        raise EngineUnavailable("no event")

    async with peer(talk) as origin:
        with await origin.ask("POST", "/", {}, b"{}") as answer:
            more.set()
            with pytest.raises(EngineUnavailable):
                await answer.pour(take, asyncio.Event().wait)


async def test_a_body_that_breaks_off_pours_as_far_as_it_came() -> None:
    taken: list[bytes] = []

    def take(piece: bytes) -> bool:
        taken.append(piece)
        return True

    async with peer(Peer(CHUNKED + b"2\r\nab\r\n", close=True)) as origin:
        with await origin.ask("POST", "/", {}, b"{}") as answer, pytest.raises(BrokenOff):
            await answer.pour(take, asyncio.Event().wait)
    assert taken == [b"ab"]


async def test_an_engine_that_sent_much_before_anybody_took_it_is_read_on() -> None:
    large = b"x" * (4 * READ_AHEAD)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(CHUNKED + b"%x\r\n%b\r\n" % (len(large), large))
        await writer.drain()
        writer.write(b"2\r\nab\r\n0\r\n\r\n")

    taken: list[bytes] = []

    def take(piece: bytes) -> bool:
        taken.append(piece)
        return True

    async with peer(talk) as origin:
        with await origin.ask("POST", "/", {}, b"{}") as answer:
            await asyncio.sleep(0.1)
            async with asyncio.timeout(5):
                await answer.pour(take, asyncio.Event().wait)
    assert b"".join(taken) == large + b"ab"
