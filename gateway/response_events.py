"""The events of a streamed response in our names.

Only the few events that carry the whole response object are read and written anew; every other event passes as it
came. The last of them waits in `final`, so that what it says about storage is true when the client reads it.
"""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from gateway.errors import GatewayError
from gateway.protocol import NOT_AN_ANSWER, Outcome, bounded

END = b"\n\n"
EVENT = b"event: "
DATA = b"data: "
OPENING = frozenset({b"response.created", b"response.in_progress", b"response.queued"})
FINAL = frozenset({b"response.completed", b"response.incomplete", b"response.failed"})


class ResponseRenamer:
    """Feed it chunks as they arrive, cut anywhere; it gives back whole events.

    document: an engine's response object as the client's. outcome_of: what such an object came to.
    """

    def __init__(
        self,
        document: Callable[[Mapping[str, Any]], dict[str, Any]],
        outcome_of: Callable[[Mapping[str, Any]], Outcome],
    ) -> None:
        self._document = document
        self._outcome_of = outcome_of
        self._rest = b""
        self._seen = 0
        self._said = Outcome()
        self._closing: tuple[bytes, dict[str, Any]] | None = None
        self.final: dict[str, Any] | None = None
        self.speaking = False
        self.error: GatewayError | None = None

    @property
    def done(self) -> bool:
        return self.final is not None

    def feed(self, chunk: bytes) -> bytes:
        """The whole events that `chunk` completes, renamed; may be empty. Raises EngineUnavailable."""
        *events, rest = (self._rest + chunk).split(END)
        self._rest = bounded(rest)
        return b"".join(self._renamed(event) for event in events if self.final is None)

    def _renamed(self, event: bytes) -> bytes:
        head, _, data = event.partition(b"\n")
        kind = head.removeprefix(EVENT)
        if kind not in OPENING and kind not in FINAL:
            if kind == b"error" or not head.startswith(EVENT):
                return b""
            self._seen += 1
            self.speaking = True
            return event + END
        body = self._read(data)
        if body is None:
            return b""
        self._seen += 1
        if kind in FINAL:
            self.final, self._closing = body["response"], (head, body)
            return b""
        return _event(head, body)

    def _read(self, data: bytes) -> dict[str, Any] | None:
        try:
            body: dict[str, Any] = orjson.loads(data.removeprefix(DATA))
            document = self._document(body["response"])
            self._said = self._outcome_of(document)
            return body | {"response": document}
        except NOT_AN_ANSWER:
            return None

    def closing(self) -> bytes:
        """The last event, once `final` is as the client shall read it."""
        return _event(*self._closing) if self._closing else b""

    def broken(self, error: GatewayError) -> bytes:
        """How a stream ends that cannot go on: the event of this endpoint, with the error object that clients look
        for on every endpoint."""
        said = error.body()
        about = {name: said["error"][name] for name in ("code", "message", "param")}
        return _event(EVENT + b"error", {"type": "error", **about, "sequence_number": self._seen, **said})

    def outcome(self) -> Outcome:
        return Outcome() if self.final is None else self._said


def _event(head: bytes, body: Mapping[str, Any]) -> bytes:
    return head + b"\n" + DATA + orjson.dumps(body) + END
