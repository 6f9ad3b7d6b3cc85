"""An upstream that answers as vLLM does and costs little: raw HTTP/1.1 on uvloop.

`python -m tests.bench.stub --port P`. Every answer says the request's own token (`bench-q-` and nine digits, somewhere
in the body), so that a client can tell its answer from anybody else's. Three modes, chosen by the body:

- whole: one `chat.completion`, at once
- paced, for `"stream": true`: `max_tokens` chunks, each one write, the first at once and then 50 a second; a chunk's
  text is the token, the chunk's number and when it was written (monotonic ns, the same clock in every process)
- silent, for a token `bench-s-…`: nothing at all, until the client leaves
"""

import argparse
import asyncio
import re
import time
from collections import deque
from typing import Any

import uvloop

TICK_S = 0.001
SLOTS = 20
"""Ticks between two chunks of a stream: 50 chunks a second."""
TOKEN = re.compile(rb"bench-([qs])-\d{9}")
MODEL = re.compile(rb'"model":\s*"([^"]*)"')
MAX_TOKENS = re.compile(rb'"max_(?:completion_)?tokens":\s*(\d+)')
"""sglang-router sends the newer name on."""
LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
STREAM = re.compile(rb'"stream":\s*true')

WHOLE = (
    b'{"id":"chatcmpl-stub","object":"chat.completion","created":1,"model":"%b","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"answer to %b","refusal":null,"annotations":null,"audio":null,"function_call":null,'
    b'"tool_calls":[],"reasoning":null},"logprobs":null,"finish_reason":"stop","stop_reason":null,"token_ids":null}],'
    b'"service_tier":null,"system_fingerprint":null,"usage":{"prompt_tokens":500,"total_tokens":520,'
    b'"completion_tokens":20,"prompt_tokens_details":null},"prompt_logprobs":null,"prompt_token_ids":null,'
    b'"kv_transfer_params":null}'
)
HEAD = b'{"id":"chatcmpl-stub","object":"chat.completion.chunk","created":1,"model":"%b","choices":'
CHUNK = (
    HEAD
    + b'[{"index":0,"delta":{"content":"%b %d %d "},"logprobs":null,"finish_reason":null,"token_ids":null}]}'
)
LAST = (
    HEAD + b'[{"index":0,"delta":{"content":""},"logprobs":null,"finish_reason":"stop","stop_reason":null}]}'
)
USAGE = HEAD + b'[],"usage":{"prompt_tokens":500,"total_tokens":%d,"completion_tokens":%d}}'
OK = b'{"status":"ok","object":"list","data":[{"id":"base","object":"model"}],"model_path":"base","model":"base"}'
STREAM_START = (
    b"HTTP/1.1 200 OK\r\nserver: stub\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)


class Stream:
    """One paced answer on its connection."""

    def __init__(self, transport: asyncio.Transport, model: bytes, token: bytes, chunks: int) -> None:
        self.transport = transport
        self._model, self._token, self._chunks = model, token, chunks
        self._sent = 0

    def start(self) -> bool:
        self.transport.write(STREAM_START)
        return self.advance()

    def advance(self) -> bool:
        """Write what is due; whether more will be."""
        if self.transport.is_closing():
            return False
        if self._sent < self._chunks:
            self._event(CHUNK % (self._model, self._token, self._sent, time.monotonic_ns()))
            self._sent += 1
            return True
        self._event(LAST % self._model)
        self._event(USAGE % (self._model, 500 + self._chunks, self._chunks))
        self._event(b"[DONE]")
        self.transport.write(b"0\r\n\r\n")
        return False

    def _event(self, data: bytes) -> None:
        self.transport.write(b"%x\r\ndata: %b\n\n\r\n" % (len(data) + 8, data))


class Pacer:
    """Calls every stream each `SLOTS` ticks, a stream always in the slot in which it began."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._slots: list[deque[Stream]] = [deque() for _ in range(SLOTS)]
        self._start = loop.time()
        self._tick = 0
        self._turn()

    def add(self, stream: Stream) -> None:
        if stream.start():
            self._slots[(self._tick - 1) % SLOTS].append(stream)

    def _turn(self) -> None:
        """Slots that are late run at once, so that a busy moment delays chunks and drops none."""
        due = int((self._loop.time() - self._start) / TICK_S)
        while self._tick <= due:
            slot = self._slots[self._tick % SLOTS]
            self._tick += 1
            for _ in range(len(slot)):
                stream = slot.popleft()
                if stream.advance():
                    slot.append(stream)
        self._loop.call_later(TICK_S, self._turn)


class Upstream(asyncio.Protocol):
    """One connection. Requests on it come one after the other, as proxies send them."""

    transport: asyncio.Transport

    def __init__(self, pacer: Pacer) -> None:
        self._pacer = pacer
        self._buffer = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        while (head := self._buffer.find(b"\r\n\r\n")) >= 0:
            length = LENGTH.search(self._buffer, 0, head)
            end = head + 4 + (int(length[1]) if length else 0)
            if len(self._buffer) < end:
                return
            whole, self._buffer = self._buffer[:end], self._buffer[end:]
            self._answer(whole, head + 4)

    def _answer(self, request: bytes, body: int) -> None:
        token, model = TOKEN.search(request, body), MODEL.search(request, body)
        if token is None or model is None:
            self._whole(OK)
        elif token[1] == b"s":
            return
        elif STREAM.search(request, body):
            chunks = MAX_TOKENS.search(request, body)
            stream = Stream(self.transport, model[1], token[0], int(chunks[1]) if chunks else 16)
            self._pacer.add(stream)
        else:
            self._whole(WHOLE % (model[1], token[0]))

    def _whole(self, content: bytes) -> None:
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nserver: stub\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
            % (len(content), content)
        )


async def serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    pacer = Pacer(loop)
    server = await loop.create_server(lambda: Upstream(pacer), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    uvloop.run(serve(port))


if __name__ == "__main__":
    main()
