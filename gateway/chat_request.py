"""`/v1/chat/completions`: the context goes into the leading system message."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    renamed_choices,
    text_of,
    usage_options,
    wants_usage,
)
from gateway.sse import StreamRenamer
from retrieval.prompt import compose
from training.corrections import answer_text
from training.types import Message

TEXT_PARTS = frozenset({"input_text", "output_text", "refusal", "text", "thinking", "tool_reference"})


@dataclass(frozen=True)
class ChatRequest(GenerationRequest):
    path: ClassVar[str] = "/v1/chat/completions"
    id_prefix: ClassVar[str] = "chatcmpl-"
    operation: ClassVar[str] = "chat"

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Raises InvalidRequest, with the field at fault as `param`."""
        payload = read_object(body)
        return cls(
            payload=allowed(payload),
            model=model_of(payload),
            stream=payload.get("stream") is True,
            messages=_messages(payload.get("messages")),
        )

    def composed(self, context: str, token: str) -> Mapping[str, Any]:
        return {"messages": compose(self.messages, context), **usage_options(self.payload)}

    def engine_ids(self, attempt_id: str) -> Sequence[str]:
        return [f"chatcmpl-{attempt_id}"]

    def renamed(self, theirs: dict[str, Any], names: Names) -> tuple[dict[str, Any], Outcome]:
        answer = renamed_choices(theirs, names)
        choices = answer["choices"]
        message = choices[0].get("message", {}) if choices else {}
        text = answer_text(message.get("content"), message.get("tool_calls"))
        return answer, Outcome(text, counts(answer.get("usage")))

    def renamer(self, names: Names, *, keep_text: bool) -> StreamRenamer:
        return StreamRenamer(names, _said, keep_usage=wants_usage(self.payload), keep_text=keep_text)


def _said(choices: Sequence[Mapping[str, Any]]) -> str:
    """The answer that a stream's pieces come to."""
    deltas = [choice.get("delta") or {} for choice in choices]
    content = "".join(text_of(delta.get("content")) for delta in deltas)
    calls: dict[int, dict[str, str]] = defaultdict(lambda: {"name": "", "arguments": ""})
    for piece in (piece for delta in deltas for piece in delta.get("tool_calls") or ()):
        function, call = piece.get("function") or {}, calls[piece.get("index", 0)]
        for field in call:
            call[field] += text_of(function.get(field))
    return answer_text(content, [{"function": calls[index]} for index in sorted(calls)])


def _messages(messages: Any) -> Sequence[Message]:
    if not isinstance(messages, list) or not messages:
        raise InvalidRequest("`messages` must be a list with at least one message.", param="messages")
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise InvalidRequest("A message is an object with a role.", param=f"messages[{index}]")
        content = message.get("content")
        if isinstance(content, list):
            check_parts(content, TEXT_PARTS, f"messages[{index}].content")
        elif not isinstance(content, str | None):
            raise InvalidRequest("Content is a text or a list of parts.", param=f"messages[{index}].content")
    return messages
