"""`/v1/responses`: the context goes into the instructions, and earlier turns into the input.

The engine serves this endpoint itself, and gets every conversation whole: it is told to store nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from gateway.bounds import read_object
from gateway.errors import InvalidRequest
from gateway.parts import check_parts
from gateway.protocol import (
    GenerationRequest,
    Names,
    Outcome,
    allowed,
    counts,
    model_of,
    strip,
    text_of,
)
from gateway.response_events import ResponseRenamer
from retrieval.prompt import compose
from training.corrections import answer_text
from training.types import Message

Item = Mapping[str, Any]

PARTS = frozenset({"input_text", "output_text", "reasoning_text", "refusal", "summary_text"})
ITEMS = frozenset(
    {
        "custom_tool_call",
        "custom_tool_call_output",
        "function_call",
        "function_call_output",
        "message",
        "reasoning",
    }
)
TOOLS = frozenset({"custom", "function", "namespace"})
"""Tools that the client runs itself. The others would let the engine act, or fetch, for a tenant."""
REFUSED = ("background", "conversation", "prompt")
"""Fields that would ask an engine to keep something."""
FORGOTTEN = ("previous_response_id", "store")
"""Fields that are about our own record."""
USAGE = {
    "input_tokens": "prompt_tokens",
    "output_tokens": "completion_tokens",
    "total_tokens": "total_tokens",
}


@dataclass(frozen=True)
class ResponseRequest(GenerationRequest):
    path: ClassVar[str] = "/v1/responses"
    id_prefix: ClassVar[str] = "resp_"
    operation: ClassVar[str] = "chat"

    items: Sequence[Item]
    """The whole conversation; earlier turns are in it once the request was resumed."""
    instructions: str | None
    store: bool | None
    """None: the client did not say."""
    previous_id: str | None

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Raises InvalidRequest, with the field at fault as `param`."""
        payload = read_object(body)
        model = model_of(payload)
        _check_fields(payload)
        items, instructions = _items(payload.get("input")), payload.get("instructions")
        return cls(
            payload={name: value for name, value in allowed(payload).items() if name not in FORGOTTEN},
            model=model,
            stream=payload.get("stream") is True,
            messages=_messages(instructions, items),
            items=items,
            instructions=instructions,
            store=payload.get("store"),
            previous_id=payload.get("previous_response_id"),
        )

    def resumed(self, earlier: Sequence[Item]) -> "ResponseRequest":
        """The same request with the turns before it; their instructions do not carry over."""
        items = [*earlier, *self.items]
        return replace(self, items=items, messages=_messages(self.instructions, items))

    def composed(self, context: str, token: str) -> Mapping[str, Any]:
        fixed = {"store": False, "request_id": f"{self.id_prefix}{token}"}
        items = _as_read(self.items)
        if context and self.instructions is None and items[0].get("role") == "system":
            return {"input": [_extended(items[0], context), *items[1:]], **fixed}
        if not context:
            return {"input": items, **fixed}
        leading = [{"role": "system", "content": self.instructions}] if self.instructions else []
        return {"input": items, "instructions": compose(leading, context)[0]["content"], **fixed}

    def engine_ids(self, attempt_id: str) -> Sequence[str]:
        """`_0`: vLLM counts the rounds of its own tools, of which there are none."""
        return [f"{self.id_prefix}{attempt_id.partition('-')[0]}_0"]

    def renamed(self, theirs: dict[str, Any], names: Names) -> tuple[dict[str, Any], Outcome]:
        document = self.document(theirs, names)
        return document, outcome_of(document)

    def renamer(self, names: Names, *, keep_text: bool) -> ResponseRenamer:
        return ResponseRenamer(lambda theirs: self.document(theirs, names), outcome_of)

    def document(self, theirs: Mapping[str, Any], names: Names) -> dict[str, Any]:
        """A response object as the client's: what it said itself, and nothing of what was composed.

        Raises one of NOT_AN_ANSWER when it is none.
        """
        document = {**theirs, "output": list(theirs["output"])}
        strip(document)
        return document | {
            "id": names.public_id,
            "model": names.model,
            "instructions": self.instructions,
            "previous_response_id": self.previous_id,
            "store": False,
        }


def outcome_of(document: Mapping[str, Any]) -> Outcome:
    """The text that the client's library would call `output_text`, then the calls of functions, and the usage in chat's
    names.

    Raises one of NOT_AN_ANSWER."""
    said = [item for item in document["output"] if item.get("type") == "message"]
    text = "".join(text_of(part.get("text")) for item in said for part in item.get("content") or ())
    calls = [{"function": item} for item in document["output"] if item.get("type") == "function_call"]
    usage = counts(document.get("usage"))
    counted = usage and {ours: usage[theirs] for theirs, ours in USAGE.items() if theirs in usage}
    return Outcome(answer_text(text, calls), counted)


def _check_fields(payload: Mapping[str, Any]) -> None:
    for name in REFUSED:
        if payload.get(name):
            raise InvalidRequest(f"`{name}` is not served.", param=name)
    for name, kind in (("instructions", str), ("previous_response_id", str), ("store", bool)):
        if not isinstance(payload.get(name), kind | None):
            raise InvalidRequest(f"`{name}` is not valid.", param=name)
    tools = payload.get("tools") or ()
    if not isinstance(tools, list | tuple) or not all(_type(tool) in TOOLS for tool in tools):
        raise InvalidRequest("Only `function` and `custom` tools are served.", param="tools")


def _type(entry: Any) -> Any:
    """What an object says that it is, when that can be looked up."""
    kind = entry.get("type") if isinstance(entry, dict) else None
    return kind if isinstance(kind, str) else None


def _items(value: Any) -> Sequence[Item]:
    """The input as a list of items. Raises InvalidRequest."""
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    if not isinstance(value, list) or not value:
        raise InvalidRequest("`input` must be a text or a list with at least one item.", param="input")
    for index, item in enumerate(value):
        _check_item(item, f"input[{index}]")
    if not _as_read(value):
        raise InvalidRequest("`input` says nothing.", param="input")
    return value


def _check_item(item: Any, param: str) -> None:
    """The engine knows nothing that an item could refer to."""
    kind = _type(item) if isinstance(item, dict) and "type" in item else "message"
    if not isinstance(item, dict) or kind not in ITEMS:
        raise InvalidRequest("Items are messages, function calls and their outputs.", param=param)
    if kind == "message" and not isinstance(item.get("role"), str):
        raise InvalidRequest("A message is an object with a role.", param=param)
    for name in ("content", "output", "summary"):
        parts = item.get(name)
        if isinstance(parts, list):
            check_parts(parts, PARTS, f"{param}.{name}")
        elif not isinstance(parts, str | None):
            raise InvalidRequest(f"`{name}` is a text or a list of parts.", param=f"{param}.{name}")


def _as_read(items: Sequence[Item]) -> Sequence[Item]:
    """What the assistant said as one part: vLLM reads the first one alone, and fails where there is none, as after an
    answer without a word."""
    said = [item for item in items if item.get("role") != "assistant" or item.get("content") != []]
    return [{**item, "content": [_one(item["content"])]} if _in_parts(item) else item for item in said]


def _one(parts: Any) -> Mapping[str, Any]:
    text = "".join(_text([part]) for part in parts)
    return {"type": "output_text", "text": text, "annotations": []}


def _in_parts(item: Item) -> bool:
    content = item.get("content")
    if item.get("role") != "assistant" or not isinstance(content, list):
        return False
    return len(content) != 1 or "text" not in content[0]


def _extended(item: Item, context: str) -> Item:
    """A system message with the context at its end."""
    content = item.get("content")
    if isinstance(content, list):
        return {**item, "content": [*content, {"type": "input_text", "text": context}]}
    return compose([item], context)[0]


def _messages(instructions: str | None, items: Sequence[Item]) -> Sequence[Message]:
    """The conversation in chat's shape."""
    leading = [{"role": "system", "content": instructions}] if instructions else []
    return [*leading, *(message for item in items if (message := _message(item)) is not None)]


def _message(item: Item) -> Message | None:
    """None: reasoning is no part of what was said."""
    match item.get("type", "message"):
        case "message":
            return {"role": item["role"], "content": _text(item.get("content"))}
        case "function_call" | "custom_tool_call":
            said = {"name": item.get("name"), "arguments": item.get("arguments", item.get("input"))}
            call = {"id": item.get("call_id"), "type": "function", "function": said}
            return {"role": "assistant", "content": None, "tool_calls": [call]}
        case "function_call_output" | "custom_tool_call_output":
            answer = _text(item.get("output"))
            return {"role": "tool", "content": answer, "tool_call_id": item.get("call_id")}
    return None


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "\n".join(str(part.get("text") or part.get("refusal") or "") for part in content)
    return str(content or "")
