"""The engines' HTTP client against bare sockets, where every byte and its moment are a test's own."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import engine_connection, engine_http
from gateway.engine_connection import READ_AHEAD, BrokenOff, Connection, NotConnected, Silent, TooLong
from gateway.engine_http import Origin
from tests.unit.gateway.pouring import first
from tests.unit.gateway.raw_engine import CHUNKED, OK, Peer, peer
from tests.unit.gateway.stub_engine import unused_url
from tests.waiting import until


async def asked(origin: Origin) -> tuple[int, bytes]:
    with await origin.ask("POST", "/v1/x", {"x-request-id": "abc"}, b"{}") as answer:
        return answer.status, await answer.read()


async def test_a_request_says_what_an_engine_needs() -> None:
    talk = Peer(OK)
    async with peer(talk) as origin:
        assert await asked(origin) == (200, b"ok")
    lines = talk.heads[0].decode().split("\r\n")
    assert lines[0] == "POST /engine/v1/x HTTP/1.1"
    assert {"authorization: Bearer token", "x-request-id: abc", "content-length: 2"} < set(lines)


class Out:
    """A connection's transport."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.write = self.sent.append

    def is_closing(self) -> bool:
        return False


@pytest.mark.parametrize("alone", [False, True])
async def test_a_request_waits_a_turn_for_others_unless_it_is_alone(alone: bool) -> None:
    out, connection = Out(), Connection(60.0, lambda _: None)
    connection.connection_made(out)
    connection.begin(b"x", alone)
    assert out.sent == ([b"x"] if alone else [])
    await asyncio.sleep(0)
    assert out.sent == [b"x"]
    connection.connection_lost(None)


async def test_a_connection_is_used_again_after_a_whole_answer() -> None:
    talk = Peer(OK)
    async with peer(talk) as origin:
        for _ in range(3):
            await asked(origin)
    assert talk.connections == 1


async def test_requests_at_the_same_time_have_a_connection_each() -> None:
    talk = Peer(OK)
    async with peer(talk) as origin:
        assert set(await asyncio.gather(*(asked(origin) for _ in range(5)))) == {(200, b"ok")}
        await asked(origin)
    assert talk.connections == 5


async def test_a_connection_that_the_engine_will_close_is_not_used_again() -> None:
    talk = Peer(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok")
    async with peer(talk) as origin:
        await asked(origin)
        await asked(origin)
    assert talk.connections == 2


async def test_a_connection_that_the_engine_has_closed_is_not_used_again() -> None:
    talk = Peer(OK, close=True)
    async with peer(talk) as origin:
        for _ in range(2):
            await asked(origin)
            await until(lambda: not origin.idle)
    assert talk.connections == 2


async def test_an_idle_connection_goes_before_the_engine_closes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_http, "IDLE_S", 0.01)
    talk = Peer(OK)
    async with peer(talk) as origin:
        await asyncio.gather(*(asked(origin) for _ in range(3)))
        await until(lambda: talk.left == 3)
        await asked(origin)
    assert talk.connections == 4


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=30), min_size=1, max_size=6), st.integers(1, 40))
async def test_a_body_in_chunks_arrives_however_it_is_cut(chunks: list[bytes], size: int) -> None:
    sent = CHUNKED + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    pieces = [sent[at : at + size] for at in range(0, len(sent), size)]
    async with peer(Peer(*pieces)) as origin:
        assert await asked(origin) == (200, b"".join(chunks))


async def test_a_chunk_does_not_wait_for_the_next() -> None:
    more = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(CHUNKED + b"2\r\nab\r\n")
        await more.wait()
        writer.write(b"2\r\ncd\r\n0\r\n\r\n")

    async with peer(talk) as origin:
        with await origin.ask("POST", "/", {}, b"{}") as answer:
            assert await first(answer) == b"ab"
            more.set()
            assert await answer.read() == b"cd"


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\x00\xff nothing like HTTP \r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nshort",
        CHUNKED + b"2\r\nab\r\n",
        CHUNKED + b"zz\r\nab\r\n",
    ],
)
async def test_what_does_not_come_whole_is_an_error(said: bytes) -> None:
    async with peer(Peer(said, close=True)) as origin:
        with pytest.raises(BrokenOff):
            await asked(origin)


async def test_bytes_that_nobody_asked_for_end_the_connection() -> None:
    """They could be taken for the answer to the next request, another tenant's."""
    talk = Peer(OK, OK.replace(b"ok", b"no"))
    async with peer(talk) as origin:
        for _ in range(2):
            assert await asked(origin) == (200, b"ok")
            await until(lambda: not origin.idle)
    assert talk.connections == 2


async def test_two_answers_at_once_are_one() -> None:
    talk = Peer(OK + OK.replace(b"200", b"500"))
    async with peer(talk) as origin:
        for _ in range(2):
            assert await asked(origin) == (200, b"ok")
    assert talk.connections == 2


async def test_a_silent_engine_is_given_up() -> None:
    async with peer(Peer(CHUNKED, b"2\r\nab\r\n"), timeout_s=0.1) as origin:
        with await origin.ask("POST", "/", {}, b"{}") as answer:
            assert await first(answer) == b"ab"
            with pytest.raises(Silent):
                await answer.read()


async def test_an_answer_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_connection, "ANSWER_BYTES", 10_000)
    talk = Peer(CHUNKED, *[b"64\r\n" + b"x" * 100 + b"\r\n"] * 1000, b"0\r\n\r\n")
    async with peer(talk) as origin:
        with pytest.raises(TooLong):
            await asked(origin)


async def test_nobody_there_is_not_an_answer() -> None:
    with pytest.raises(NotConnected):
        await asked(Origin(unused_url(), "token", 5.0))


async def test_leaving_an_answer_closes_its_connection() -> None:
    talk = Peer(CHUNKED, b"2\r\nab\r\n")
    async with peer(talk) as origin:
        with await origin.ask("POST", "/", {}, b"{}") as answer:
            await first(answer)
        await until(lambda: talk.left == 1)


async def test_a_cancelled_request_closes_its_connection() -> None:
    talk = Peer()
    async with peer(talk) as origin:
        asking = asyncio.create_task(asked(origin))
        await until(lambda: bool(talk.heads))
        asking.cancel()
        await until(lambda: talk.left == 1)


async def test_an_engine_waits_for_a_slow_reader() -> None:
    parts, written = 1000, 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await reader.readuntil(b"{}")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (parts * READ_AHEAD))
        for _ in range(parts):
            writer.write(b"x" * READ_AHEAD)
            await writer.drain()
            written += 1

    async with peer(talk) as origin:
        with await origin.ask("POST", "/", {}, b"{}") as answer:
            await asyncio.sleep(0.1)
            assert written < parts // 2
            assert len(await answer.read()) == parts * READ_AHEAD
