"""An engine's event stream in our names: every byte passes as it came, except ids, model names, what was not asked and
what the engine tells of itself.

Renaming replaces the JSON text `"id":"…"` and `"model":"…"` of the first event. Generated text cannot contain
either: inside a JSON string its quotes are escaped.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from gateway.errors import GatewayError
from gateway.protocol import NOT_AN_ANSWER, Names, Outcome, bounded, counts, engine_error, strip

log = logging.getLogger(__name__)

END = b"\n\n"
DATA = b"data: "
DONE = b"data: [DONE]"
ERROR = b'data: {"error"'
KEPT_BYTES = 32 * 1024 * 1024
"""Of a stream's events, for its text; what follows is passed on and not kept."""


class StreamRenamer:
    """Feed it chunks as they arrive, cut anywhere; it gives back whole events.

    said: the text that one choice of every event comes to. keep_usage: whether the client asked for the usage event.
    keep_text: whether `outcome` shall have the text.
    """

    speaking = True
    final: dict[str, Any] | None = None

    def __init__(
        self,
        names: Names,
        said: Callable[[Sequence[Mapping[str, Any]]], str],
        *,
        keep_usage: bool,
        keep_text: bool,
    ) -> None:
        self._names = names.public_id, names.model
        self._engine_model = names.engine_model
        self._said = said
        self._keep_usage = keep_usage
        self._room = KEPT_BYTES if keep_text else 0
        self._pairs: Sequence[tuple[bytes, bytes]] = ()
        self._rest = b""
        self._kept: list[bytes] = []
        self._usage: bytes | None = None
        self.done = False
        """The engine said that the stream is complete."""
        self.error: GatewayError | None = None
        """Why the engine ended the stream before its end; what follows is not passed on."""

    def feed(self, chunk: bytes) -> bytes:
        """The whole events that `chunk` completes, renamed; may be empty. Raises EngineUnavailable."""
        if self.error is not None:
            return b""
        data = self._rest + chunk if self._rest else chunk
        cut = data.rfind(END) + len(END)
        if cut < len(END):
            self._rest = bounded(data)
            return b""
        self._rest = bounded(data[cut:])
        events = data[:cut]
        if not self._pairs:
            self._pairs = self._learn(events)
        for theirs, ours in self._pairs:
            events = events.replace(theirs, ours)
        return self._inspected(events)

    def _learn(self, events: bytes) -> Sequence[tuple[bytes, bytes]]:
        """What the engine calls the answer and the model, from the first event that says it."""
        said = (_parsed(event) for event in events.split(END) if b'"model":' in event)
        first = next(said, {})
        pairs = []
        for field, ours in zip(("id", "model"), self._names, strict=True):
            theirs = first.get(field)
            if isinstance(theirs, str) and theirs != ours:
                name = b'"' + field.encode() + b'":'
                pairs.append((name + orjson.dumps(theirs), name + orjson.dumps(ours)))
        return pairs

    def _inspected(self, events: bytes) -> bytes:
        if self._room > 0:
            self._room -= len(events)
            self._kept.append(events)
        if b'"usage":{' in events:
            events = self._without_usage(events)
        if DONE in events:
            self.done = self.done or events.rstrip().endswith(DONE)
        if ERROR in events:
            events, _, said = events.partition(ERROR)
            self.error = self._failure(_parsed(ERROR + said.split(END, 1)[0]))
        return events

    def _failure(self, said: Mapping[str, Any]) -> GatewayError:
        """What the client is told: the engine's own words are only for what the client did wrong."""
        error = said.get("error")
        status = error.get("code") if isinstance(error, dict) else None
        model = self._names[1]
        return engine_error(
            status if isinstance(status, int) else 500, orjson.dumps(said), self._engine_model, model
        )

    def _without_usage(self, events: bytes) -> bytes:
        """The usage event has no choices; the client sees it only on request."""
        kept = []
        for event in events.split(END)[:-1]:
            if b'"usage":{' in event:
                self._usage = event
            if not (b'"choices":[]' in event and b'"usage":{' in event):
                kept.append(event + END)
            elif self._keep_usage:
                kept.append(_of_usage(event) + END)
        return b"".join(kept)

    def outcome(self) -> Outcome:
        """To be called once, after the last byte went out: reading the text costs a parse of every event."""
        usage = counts(_parsed(self._usage).get("usage")) if self._usage else None
        events = [_parsed(event) for event in b"".join(self._kept).split(END)]
        try:
            choices = [choice for event in events for choice in event.get("choices") or ()]
            text = self._said([choice for choice in choices if choice.get("index", 0) == 0])
        except NOT_AN_ANSWER:
            log.warning("an event of %s is none", self._names[0])
            text = ""
        return Outcome(text, usage)

    def closing(self) -> bytes:
        return b""

    def broken(self, error: GatewayError) -> bytes:
        """How a stream ends that cannot go on."""
        return DATA + orjson.dumps(error.body()) + END


def _of_usage(event: bytes) -> bytes:
    """vLLM tells of itself in the last event of a stream."""
    said = _parsed(event)
    strip(said)
    return DATA + orjson.dumps(said) if said else event


def _parsed(event: bytes) -> dict[str, Any]:
    """The JSON object of a `data:` event; empty for anything else."""
    if not event.startswith(DATA):
        return {}
    try:
        value = orjson.loads(event[len(DATA) :])
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}
