"""The load generator against the stub, and against upstreams that answer wrongly."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from tests.bench.load import BODY_BYTES, Requests, closed_loop, open_loop, percentile, whole
from tests.bench.load_streams import first_chunks, run_streams
from tests.bench.stub import Pacer, Upstream


@asynccontextmanager
async def listening(factory: Callable[[], Any]) -> AsyncIterator[int]:
    server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


@asynccontextmanager
async def stub() -> AsyncIterator[int]:
    pacer = Pacer(asyncio.get_running_loop())
    async with listening(lambda: Upstream(pacer)) as port:
        yield port


class Stale(asyncio.Protocol):
    """Answers every request with somebody else's answer."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        body = b"answer to bench-q-999999999"
        self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))


class Rude(Stale):
    """Closes the connection instead of answering."""

    def data_received(self, data: bytes) -> None:
        self.transport.close()


async def test_every_answer_of_the_stub_is_its_own_requests() -> None:
    async with stub() as port:
        seen = await closed_loop(port, Requests(port, (), "default"), 4, 5.0, most=50)
    assert seen.wrong == 0
    assert len(seen.latencies) >= 50


async def test_the_open_loop_sends_as_many_as_its_clock_says() -> None:
    async with stub() as port:
        seen = await open_loop(port, Requests(port, (), "default"), 200, 0.3, connections=8)
    assert seen.wrong == 0
    assert 30 < len(seen.latencies) < 100


async def test_anothers_answer_is_wrong() -> None:
    async with listening(Stale) as port:
        seen = await closed_loop(port, Requests(port, (), "default"), 1, 5.0, most=3)
    assert not seen.latencies
    assert seen.wrong


async def test_a_closed_connection_is_wrong() -> None:
    async with listening(Rude) as port:
        seen = await closed_loop(port, Requests(port, (), "default"), 2, 5.0)
    assert seen.wrong == 2


async def test_streams_are_paced_whole_and_in_turn() -> None:
    async with stub() as port:
        requests = Requests(port, (), "default")
        streams = await run_streams(port, requests, 5, 0.3, 0.1)
        first = await first_chunks(port, requests, 2)
    assert (streams.finished, streams.wrong, streams.chunks) == (5, 0, 5 * 20)
    assert (first.finished, first.wrong, len(first.first)) == (2, 0, 2)


def test_requests_differ_and_have_one_size() -> None:
    requests = Requests(1, ("a", "b"), "default")
    (first, one), (second, two) = requests.next(), requests.next()
    assert first != second and first in one and second in two
    assert len(one.partition(b"\r\n\r\n")[2]) == BODY_BYTES
    assert b"Bearer b" in one and b"Bearer a" in two


def test_an_answer_is_whole_when_its_length_or_its_last_chunk_says_so() -> None:
    assert not whole(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab")
    assert whole(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")
    assert not whole(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n")
    assert whole(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n")


def test_a_percentile_without_values_is_infinite() -> None:
    assert percentile([], 0.5) == float("inf")
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
