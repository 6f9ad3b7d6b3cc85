"""`/v1/completions`: the context goes in front of the prompt.

One text is a question like chat's: passages and memory are searched by it. Several prompts, or token ids, go to the
engine as they are, and so does a prompt that the client wants echoed: the echo, its log probabilities and its
offsets shall be about the client's own words.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from gateway.bounds import read_object
from gateway.errors import InvalidRequest
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
from retrieval.prompt import prefix

MAX_PROMPTS = 64
"""Choices of all prompts together are bounded by it too."""

Prompt = str | list[int]


@dataclass(frozen=True)
class CompletionRequest(GenerationRequest):
    path: ClassVar[str] = "/v1/completions"
    id_prefix: ClassVar[str] = "cmpl-"
    operation: ClassVar[str] = "text_completion"

    prompts: Sequence[Prompt]

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Raises InvalidRequest, with the field at fault as `param`."""
        payload = read_object(body)
        model = model_of(payload)
        prompts = _prompts(payload.get("prompt"))
        if len(prompts) * (payload.get("n") or 1) > MAX_PROMPTS:
            raise InvalidRequest(f"{MAX_PROMPTS} choices in all are served at most.", param="n")
        only = prompts[0] if len(prompts) == 1 else None
        return cls(
            payload=allowed(payload),
            model=model,
            stream=payload.get("stream") is True,
            messages=[{"role": "user", "content": only}] if isinstance(only, str) else (),
            prompts=prompts,
        )

    @property
    def question(self) -> str:
        return "" if self.payload.get("echo") or not self.messages else str(self.messages[0]["content"])

    @property
    def token_estimate(self) -> int:
        read = sum(len(prompt) // 4 if isinstance(prompt, str) else len(prompt) for prompt in self.prompts)
        return read + self.allowed_tokens * len(self.prompts)

    def composed(self, context: str, token: str) -> Mapping[str, Any]:
        usage = usage_options(self.payload)
        return {"prompt": prefix(str(self.prompts[0]), context), **usage} if context else usage

    def engine_ids(self, attempt_id: str) -> Sequence[str]:
        return [f"cmpl-{attempt_id}-{number}" for number in range(len(self.prompts))]

    def renamed(self, theirs: dict[str, Any], names: Names) -> tuple[dict[str, Any], Outcome]:
        answer = renamed_choices(theirs, names)
        text = answer["choices"][0].get("text") if answer["choices"] and self.messages else None
        return answer, Outcome(text_of(text), counts(answer.get("usage")))

    def renamer(self, names: Names, *, keep_text: bool) -> StreamRenamer:
        keep_usage = wants_usage(self.payload)
        return StreamRenamer(names, _said, keep_usage=keep_usage, keep_text=keep_text and bool(self.messages))


def _said(choices: Sequence[Mapping[str, Any]]) -> str:
    """The text that a stream's pieces come to."""
    return "".join(text_of(choice.get("text")) for choice in choices)


def _prompts(value: Any) -> Sequence[Prompt]:
    """A text, a list of texts, one prompt's token ids, or a list of those. Raises InvalidRequest."""
    prompts = [value] if isinstance(value, str) or _ids(value) else value
    if not isinstance(prompts, list) or not prompts:
        raise InvalidRequest("`prompt` must be a text, token ids, or a list of either.", param="prompt")
    if len(prompts) > MAX_PROMPTS:
        raise InvalidRequest(f"`prompt` may have {MAX_PROMPTS} prompts at most.", param="prompt")
    if not (all(isinstance(prompt, str) for prompt in prompts) or all(_ids(prompt) for prompt in prompts)):
        raise InvalidRequest("`prompt` must be a text, token ids, or a list of either.", param="prompt")
    return prompts


def _ids(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(token) is int for token in value)
