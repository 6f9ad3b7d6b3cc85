"""Where a request belongs in a distributed trace: the client's own, and ours when spans are exported."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from gateway.asgi import RequestHeaders

PARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
STATE = re.compile(r"[\x20-\x7e]{1,512}")
SPANS = "gateway.spans"
"""Loaded only when spans are exported: OpenTelemetry's SDK takes a third of a second."""

Described = tuple[str, int, Mapping[str, Any]]
"""A span's name, the status of the response, and attributes."""


class Span(Protocol):
    """One request in a trace. headers: W3C's trace context for the engine."""

    @property
    def headers(self) -> Mapping[str, str]: ...

    def end(self, described: Callable[[], Described]) -> None: ...


class Tracing(Protocol):
    def begin(self, headers: RequestHeaders) -> Span: ...

    async def close(self) -> None: ...


class PassedOn:
    """No span of ours: the client's context goes on to the engine."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.headers = headers

    def end(self, described: Callable[[], Described]) -> None:
        pass


class NoSpans:
    def begin(self, headers: RequestHeaders) -> PassedOn:
        return PassedOn(context_of(headers))

    async def close(self) -> None:
        pass


def context_of(headers: RequestHeaders) -> Mapping[str, str]:
    """W3C's trace context of a client; empty when it is not valid, as W3C wants."""
    parent, state = headers.get(b"traceparent"), headers.get(b"tracestate")
    if parent is None or PARENT.fullmatch(parent) is None:
        return {}
    kept = {"tracestate": state} if state is not None and STATE.fullmatch(state) else {}
    return {"traceparent": parent, **kept}
