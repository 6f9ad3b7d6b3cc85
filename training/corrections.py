"""What a correction may look like, and its text. Pure.

A correction is text, or an assistant's message where the right answer is a call of tools. The message is kept as
given; its text is what memory shows and what is trained on.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from training.errors import InvalidFeedback
from training.types import Message, Tool, question_of

TOOL_CALL = "<tool_call>"
TOOL_PARSER = "hermes"
"""The parser, by vLLM's name, that reads calls in the one form in which they are written here."""
_FIELDS = frozenset({"role", "content", "tool_calls", "refusal", "name"})
_DEPENDENT = re.compile(
    r"^(?:and|also|but|then|so|what about|how about|same|ok|okay|yes|no)\b"
    r"|\b(?:it|its|that|this|they|them|their|those|these|the other|the same|the (?:first|second|last) one)\b",
    re.IGNORECASE,
)
_SHORTEST = 4
"""A follow-up of fewer words leans on what was said before."""


def text_of(correction: str | Mapping[str, Any]) -> str:
    """The correction as text: of a message its content, then each call as `<tool_call>` with JSON inside, the form
    that open chat templates train and that engines parse.

    Raises InvalidFeedback for a message that no assistant could have sent.
    """
    if isinstance(correction, str):
        return correction
    if correction.get("role", "assistant") != "assistant":
        raise InvalidFeedback("A correction is the assistant's message.", "correction.role")
    unknown = sorted(correction.keys() - _FIELDS)
    if unknown:
        raise InvalidFeedback("A message has no such field.", f"correction.{unknown[0]}")
    parts = [_content(correction.get("content"))]
    calls = correction.get("tool_calls") or []
    if not isinstance(calls, list):
        raise InvalidFeedback("`tool_calls` is a list.", "correction.tool_calls")
    parts += [_call(call, f"correction.tool_calls[{place}]") for place, call in enumerate(calls)]
    return "\n".join(part for part in parts if part)


def check_form(correction: str | Mapping[str, Any], tool_parser: str) -> None:
    """tool_parser: how the engine reads calls of tools. Raises InvalidFeedback for calls that it would not read once
    they have been learned."""
    if isinstance(correction, Mapping) and correction.get("tool_calls") and tool_parser != TOOL_PARSER:
        raise InvalidFeedback(
            f"Calls of tools are learned in the form of the parser `{TOOL_PARSER}`, and the engine's is "
            f"`{tool_parser or 'none'}` (GRAFT_TOOL_PARSER): it would not read them. Correct with text instead.",
            "correction.tool_calls",
        )


def functions_of(tools: Any) -> list[Tool]:
    """The functions among a request's tools, in the form in which the engine hands them to the chat template; those of
    `/v1/responses`, which are flat, too. Total: what is no function is left out."""
    found: list[Tool] = []
    for tool in tools if isinstance(tools, list) else ():
        if not isinstance(tool, dict) or tool.get("type") != "function":
            continue
        function = tool.get("function", tool)
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            shown = {name: function.get(name) for name in ("name", "description", "parameters")}
            strict = {"strict": function["strict"]} if function.get("strict") is not None else {}
            found.append({"type": "function", "function": shown | strict})
    return found


def answer_text(content: Any, calls: Any) -> str:
    """What an engine answered, as `text_of` writes a correction, so that the two can be compared. Total: what a model
    made up as arguments is kept as it wrote it."""
    parts = [content if isinstance(content, str) else ""]
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            parts.append(_answered(function.get("name"), function.get("arguments")))
    return "\n".join(part for part in parts if part)


def _content(content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list) or not all(
        isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
        for part in content
    ):
        raise InvalidFeedback("Content is text, or parts of text.", "correction.content")
    return "\n".join(part["text"] for part in content)


def _call(call: Any, param: str) -> str:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or call.get("type", "function") != "function":
        raise InvalidFeedback("A tool call has the type `function` and a `function`.", param)
    if not isinstance(function.get("name"), str) or not function["name"]:
        raise InvalidFeedback("A function has a name.", f"{param}.function.name")
    arguments = as_json(function.get("arguments"))
    if not isinstance(arguments, dict):
        raise InvalidFeedback(
            "Arguments are a JSON object, as text, not nested too deep.", f"{param}.function.arguments"
        )
    try:
        return _written(function["name"], arguments)
    except orjson.JSONEncodeError as error:
        raise InvalidFeedback("Arguments are nested too deep.", f"{param}.function.arguments") from error


def _answered(name: Any, arguments: Any) -> str:
    known = as_json(arguments)
    try:
        return _written(name, known if isinstance(known, dict) else arguments)
    except orjson.JSONEncodeError:  # too deep
        return _written(name, str(arguments))


def _written(name: Any, arguments: Any) -> str:
    call = orjson.dumps({"name": name, "arguments": arguments}).decode()
    return f"{TOOL_CALL}\n{call}\n</tool_call>"


def as_json(text: Any) -> Any:
    """The object or list that a text is, or None; also for one nested deeper than could be written again."""
    if not isinstance(text, str) or not text.lstrip().startswith(("{", "[")):
        return None
    try:
        value = orjson.loads(text)
        orjson.dumps(value)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return None
    return value


def stands_alone(messages: Sequence[Message]) -> bool:
    """Whether the last question means the same without what was said before it.

    Memory knows an answer by its question alone, so a follow-up such as "And in blue?" would answer other
    conversations; it is trained on only.
    """
    asked = [message for message in messages if message.get("role") == "user"]
    if len(asked) < 2:
        return True
    question = question_of(messages)
    return len(question.split()) >= _SHORTEST and not _DEPENDENT.search(question.strip())
