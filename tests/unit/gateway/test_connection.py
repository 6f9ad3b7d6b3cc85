"""Whole answers past ASGI's `send`, and what leaves in the loop's next turn."""

import asyncio
import select
import socket

import pytest

from gateway.asgi import CLIENT, DisconnectWatch, Receive, RequestHeaders, Scope, Send, read_body, respond
from gateway.next_turn import NextTurn
from tests.unit.gateway.stub_engine import served
from tests.waiting import until


class App:
    """Answers with the path, or what was sent to it. at_once: whether each answer went past `send`, by path; `/slow`
    waits for `go`."""

    def __init__(self, value: bytes = b"1") -> None:
        self.value = value
        self.at_once: dict[str, bool] = {}
        self.go = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, headers = scope["path"], [(b"x-own", self.value)]
        body = await read_body(receive, RequestHeaders(scope), 10_000) or path.encode()
        if path == "/slow":
            await self.go.wait()
        self.at_once[path] = scope[CLIENT].answer(scope, 200, headers, body)
        if not self.at_once[path]:
            await respond(send, 200, headers, body)


async def read(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """One answer's head, in lower case, and body."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    return head, await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))


def get(path: str, version: str = "1.1") -> bytes:
    return f"GET {path} HTTP/{version}\r\nhost: x\r\n\r\n".encode()


async def opened(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = url.removeprefix("http://").split(":")
    return await asyncio.open_connection(host, int(port))


async def test_a_connection_carries_one_answer_after_the_other() -> None:
    app = App()
    async with served(app) as url:
        reader, writer = await opened(url)
        for path in ("/a", "/b"):
            writer.write(get(path))
            head, body = await read(reader)
            assert (head.split(b"\r\n")[0], body) == (b"http/1.1 200 ok", path.encode())
            assert b"\r\nx-own: 1\r\n" in head
            assert b"connection: close" not in head
        writer.close()
    assert app.at_once == {"/a": True, "/b": True}


async def test_requests_that_come_before_the_answer_are_answered_in_their_order() -> None:
    app = App()
    async with served(app) as url:
        reader, writer = await opened(url)
        writer.write(get("/slow") + get("/b"))
        await asyncio.sleep(0.05)
        app.go.set()
        assert [(await read(reader))[1], (await read(reader))[1]] == [b"/slow", b"/b"]
        writer.close()
    assert app.at_once == {"/slow": False, "/b": True}


async def test_who_wants_one_answer_only_is_told_that_it_was_the_last() -> None:
    async with served(App()) as url:
        reader, writer = await opened(url)
        writer.write(get("/a", "1.0"))
        head, body = await read(reader)
        assert b"connection: close\r\n" in head
        assert (body, await reader.read()) == (b"/a", b"")
        writer.close()


async def test_a_header_holds_no_other() -> None:
    async with served(App(b"1\r\nx-other: 2")) as url:
        reader, writer = await opened(url)
        writer.write(get("/a"))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 500")
        assert b"x-other" not in head
        writer.close()


@pytest.mark.parametrize("apart", [False, True])
async def test_an_offer_of_another_protocol_is_passed_over_and_bodies_are_left_as_they_are(
    apart: bool,
) -> None:
    body = b"1\r\nUpgrade: 2\r\n\r\n3"
    head = b"POST /a HTTP/1.1\r\nhost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\ncontent-length: %d\r\n\r\n"
    async with served(App()) as url:
        reader, writer = await opened(url)
        for _ in range(2):
            writer.write(head % len(body))
            if apart:
                await asyncio.sleep(0.05)
            writer.write(body)
            assert (await read(reader))[1] == body
        writer.close()


async def test_what_is_no_request_is_answered_by_a_name_too() -> None:
    async with served(App()) as url:
        reader, writer = await opened(url)
        writer.write(b"what?\r\n\r\n")
        head, _ = await read(reader)
        assert head.startswith(b"http/1.1 400")
        assert b"\r\nx-request-id: req_" in head
        writer.close()


async def test_a_client_that_left_is_not_answered() -> None:
    app = App()
    async with served(app) as url:
        _, writer = await opened(url)
        writer.write(get("/slow"))
        await asyncio.sleep(0.05)
        writer.close()
        await asyncio.sleep(0.05)
        app.go.set()
        await until(lambda: app.at_once == {"/slow": True})


@pytest.mark.parametrize("ending", [False, True])
async def test_an_answer_has_left_before_what_is_done_about_it_and_is_not_taken_back(ending: bool) -> None:
    left = asyncio.get_running_loop().create_future()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        with DisconnectWatch(scope) as watch:
            if ending and task is not None:
                task.cancel()
            await watch.respond(send, [], b"{}")
        left.set_result(select.select([asking], [], [], 5.0)[0])  # the loop stands still meanwhile

    async with served(app) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as asking:
            asking.sendall(get("/a"))
            assert await left == [asking]


async def test_a_call_that_fails_takes_no_other_with_it(caplog: pytest.LogCaptureFixture) -> None:
    turn, called = NextTurn(), list[int]()
    turn.call(lambda: called.append(1))
    turn.call(lambda: called.append(1 // 0))
    turn.call(lambda: called.append(3))
    assert called == []
    await asyncio.sleep(0)
    assert called == [1, 3]
    assert "ZeroDivisionError" in caplog.text
