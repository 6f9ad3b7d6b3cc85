"""What a client's body may hold, whichever endpoint it is for. Pure."""

from collections.abc import Mapping
from typing import Any

import orjson

from gateway.errors import InvalidRequest

MAX_DEPTH = 64
MAX_CHOICES = 16
MAX_TOKENS = 1 << 20
MAX_STOPS = 4
"""What vLLM takes, and OpenAI."""
MAX_STOP_CHARACTERS = 256
WHOLE = {
    "n": MAX_CHOICES,
    "best_of": MAX_CHOICES,
    "max_tokens": MAX_TOKENS,
    "max_completion_tokens": MAX_TOKENS,
    "max_output_tokens": MAX_TOKENS,
}
"""Whole numbers from 1 to what the table says. No token at all is for those who want their prompt's echo."""
ENTRIES = {
    "bad_words": 64,
    "logit_bias": 1024,
    "metadata": 16,
    "stop_token_ids": 64,
    "tools": 128,
}
"""Lists and objects by how many entries they may have."""

BOUNDED = WHOLE.keys() | ENTRIES.keys()


def read_object(body: bytes) -> dict[str, Any]:
    """The body's JSON object. Raises InvalidRequest, with the field at fault as `param`."""
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"The body is not JSON: {error}") from error
    if not isinstance(payload, dict):
        raise InvalidRequest("The body must be a JSON object.")
    # Most bodies have too few brackets to be deep, and counting them is cheaper than a walk.
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH and _deeper(payload, MAX_DEPTH):
        raise InvalidRequest(f"The body is nested deeper than {MAX_DEPTH} levels.")
    _check(payload)
    return payload


def _deeper(value: Any, most: int) -> bool:
    level = [value]
    for _ in range(most):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def _check(payload: Mapping[str, Any]) -> None:
    for name in filter(BOUNDED.__contains__, payload):
        value = payload[name]
        if (most := WHOLE.get(name)) is not None:
            if value is not None and not (type(value) is int and _least(name, payload) <= value <= most):
                raise InvalidRequest(f"`{name}` must be a whole number from 1 to {most}.", param=name)
        elif isinstance(value, list | dict) and len(value) > ENTRIES[name]:
            raise InvalidRequest(f"`{name}` may have {ENTRIES[name]} entries at most.", param=name)
    if not isinstance(payload.get("stream"), bool | None):
        raise InvalidRequest("`stream` must be true or false.", param="stream")
    for name in ("stream_options", "chat_template_kwargs"):
        if not isinstance(payload.get(name), dict | None):
            raise InvalidRequest(f"`{name}` must be an object.", param=name)
    if "chat_template" in (payload.get("chat_template_kwargs") or ()):
        message = "A chat template of your own is not served."
        raise InvalidRequest(message, param="chat_template_kwargs")
    if (stop := payload.get("stop")) is not None:
        _check_stop(stop)


def _least(name: str, payload: Mapping[str, Any]) -> int:
    return 0 if name == "max_tokens" and payload.get("echo") else 1


def _check_stop(stop: Any) -> None:
    texts = [stop] if isinstance(stop, str) else stop
    if not isinstance(texts, list) or len(texts) > MAX_STOPS:
        raise InvalidRequest(f"`stop` is a text or a list of {MAX_STOPS} at most.", param="stop")
    if not all(isinstance(text, str) and 1 <= len(text) <= MAX_STOP_CHARACTERS for text in texts):
        raise InvalidRequest(f"A stop text has 1 to {MAX_STOP_CHARACTERS} characters.", param="stop")
