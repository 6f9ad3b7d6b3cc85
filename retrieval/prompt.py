"""How retrieved text becomes part of the prompt. Pure: text in, messages out.

The client's own system text comes first because it changes least from request to request, then passages, then
approved answers: what is stable stays in front, so that the engine's prefix cache can reuse it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

PASSAGES_HEADING = "Notes:"
ANSWERS_HEADING = "Approved answers:"


def render(passages: Sequence[tuple[str, str]], answers: Sequence[tuple[str, str]]) -> str:
    """The context block of one request.

    passages: (title, text) pairs, best first. answers: (question, answer) pairs that a person approved.
    Returns an empty string when there is nothing to say.
    """
    lines: list[str] = []
    if passages:
        lines.append(PASSAGES_HEADING)
        lines += [f"[{title}] {text}" for title, text in passages]
    if answers:
        lines.append(ANSWERS_HEADING)
        lines += [f"Q: {question}\nA: {answer}" for question, answer in answers]
    return "\n".join(lines)


def compose(messages: Sequence[Mapping[str, Any]], context: str) -> list[dict[str, Any]]:
    """The messages with `context` appended to their leading system message, or put before them as one."""
    copied = [dict(message) for message in messages]
    if not context:
        return copied
    if copied and copied[0].get("role") == "system":
        copied[0]["content"] = _appended(copied[0].get("content"), context)
        return copied
    return [{"role": "system", "content": context}, *copied]


def prefix(prompt: str, context: str) -> str:
    """A plain prompt with `context` in front of it."""
    return f"{context}\n\n{prompt}" if context else prompt


def _appended(content: Any, context: str) -> Any:
    """System content may be plain text or OpenAI's list of parts; either keeps its shape."""
    if isinstance(content, list):
        return [*content, {"type": "text", "text": context}]
    return f"{content}\n{context}" if content else context
