"""What the three endpoints that generate text have in common at the edge: a client's body in, the engine's body
out, and the engine's answer renamed.

Nothing of the engine's own naming passes: ids and model names in answers are ours, and what an engine's error
says about a model is said in the client's words.
"""

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

import orjson

from adapters.types import BASE_NAME
from gateway.errors import ContextTooLong, EngineUnavailable, GatewayError, InvalidRequest
from training.types import Message, question_of

ENGINE_ONLY = frozenset(
    {
        "cache_salt",
        "chat_template",
        "ec_transfer_params",
        "enable_response_messages",
        "kv_transfer_params",
        "logits_processors",
        "lora_path",
        "lora_request",
        "media_io_kwargs",
        "mm_payload",
        "mm_processor_kwargs",
        "previous_input_messages",
        "priority",
        "prompt_embeds",
        "prompt_logprobs",
        "request_id",
        "return_mm_kwargs",
        "return_prompt_text",
        "return_token_ids",
        "return_token_offsets",
        "routed_experts_prompt_start",
        "session_id",
        "vllm_xargs",
    }
)
"""Fields that reach past a tenant or into the engine; they are dropped. `return_*`, `prompt_logprobs` and
`enable_response_messages` would show the composed prompt."""
NOT_OURS = frozenset(
    {
        "ec_transfer_params",
        "input_messages",
        "kv_transfer_params",
        "metrics",
        "mm_kwargs",
        "output_messages",
        "prompt_logprobs",
        "prompt_text",
        "prompt_token_ids",
        "routed_experts",
        "system_fingerprint",
    }
)
"""Parts of an engine's answer that show the composed prompt or the engine itself: its release, what it is set to, how
busy it is."""
REFUSALS = frozenset({400, 413, 422, 501})
"""What an engine answers when it is the client's request that it does not serve."""
REFUSED = "The engine refused the request."
MAX_REFUSAL = 2000
"""Characters of a refusal that are shown: it may quote the request."""
SENTENCES = re.compile(r"[^.]+\.?|\.")
FOR_OPERATORS = re.compile(r"(?<![\w-])(?:--[a-z]|vllm)", re.IGNORECASE)
"""What a sentence on how the engine should have been started holds."""
FINDINGS = re.compile(r"""'loc': '(?:body\.)?([^']*)', 'msg': (?:'([^']*)'|"([^"]*)")""")
"""What was found wrong with a field, in the list that vLLM makes of it."""
TOO_LONG = "maximum context length"
NOT_LOADED = "could not be loaded"
"""vLLM says 400 too when it found an adapter's files and failed on them."""
NOT_AN_ANSWER = (AttributeError, IndexError, KeyError, TypeError, ValueError)
"""What reading something else than an answer as one comes to."""
MAX_EVENT_BYTES = 8 * 1024 * 1024
DEFAULT_ANSWER_TOKENS = 256
"""What is reserved for an answer that the client did not bound."""


class Names(NamedTuple):
    """What an answer and its model are called: by us to the client, and by the engine."""

    public_id: str
    model: str
    engine_model: str


class Outcome(NamedTuple):
    """What an answer came to, for accounting and the journal. `usage` has chat's names for its numbers."""

    text: str = ""
    usage: Mapping[str, int] | None = None


class Renamer(Protocol):
    """An engine's event stream in our names."""

    @property
    def done(self) -> bool:
        """The engine said that the stream is complete."""

    @property
    def error(self) -> GatewayError | None:
        """What the engine said in the stream instead of its end, for the client."""

    @property
    def speaking(self) -> bool:
        """Whether what was fed has begun to answer."""

    @property
    def final(self) -> dict[str, Any] | None:
        """The whole answer, when it comes with the last event; `closing` gives that event."""

    def feed(self, chunk: bytes) -> bytes:
        """Raises EngineUnavailable when an event grows past all bounds."""

    def closing(self) -> bytes: ...

    def broken(self, error: GatewayError) -> bytes: ...

    def outcome(self) -> Outcome: ...


@dataclass(frozen=True)
class GenerationRequest(ABC):
    """A client's request, checked as far as the gateway depends on it; the engine checks the rest."""

    path: ClassVar[str]
    id_prefix: ClassVar[str]
    operation: ClassVar[str]
    """What OpenTelemetry calls it."""

    payload: Mapping[str, Any]
    """Without the fields that only the gateway may set."""
    model: str
    stream: bool
    messages: Sequence[Message]
    """The client's own conversation in chat's shape, for the journal; empty when there is no single one."""

    @property
    def question(self) -> str:
        """What passages and memory are searched by; empty: there is nothing to search by."""
        return question_of(self.messages)

    @property
    def token_estimate(self) -> int:
        """What to reserve: four bytes a token for the prompt, and what the client allows for the answer."""
        text = sum(len(str(message.get("content") or "")) for message in self.messages)
        return text // 4 + self.allowed_tokens

    @abstractmethod
    def composed(self, context: str, token: str) -> Mapping[str, Any]:
        """The fields that the engine gets instead of the client's. token: names this request alone."""

    @abstractmethod
    def engine_ids(self, attempt_id: str) -> Sequence[str]:
        """How vLLM calls the work of this request when it came with this `x-request-id`."""

    @abstractmethod
    def renamed(self, theirs: dict[str, Any], names: Names) -> tuple[dict[str, Any], Outcome]:
        """An engine's whole answer in our names. Raises one of NOT_AN_ANSWER when it is none."""

    @abstractmethod
    def renamer(self, names: Names, *, keep_text: bool) -> Renamer:
        """keep_text: whether its outcome shall have the text."""

    def answer(self, body: bytes, names: Names) -> tuple[dict[str, Any], Outcome]:
        """An engine's whole answer in our names. Raises EngineUnavailable when it is not an answer."""
        try:
            return self.renamed(orjson.loads(body), names)
        except NOT_AN_ANSWER as error:
            raise EngineUnavailable("The engine's answer could not be read.", retry_after_s=1.0) from error

    @property
    def allowed_tokens(self) -> int:
        names = ("max_completion_tokens", "max_tokens", "max_output_tokens")
        given = (value for name in names if (value := self.payload.get(name)) is not None)
        return int(next(given, DEFAULT_ANSWER_TOKENS)) * int(self.payload.get("n") or 1)


def new_id(prefix: str = "") -> str:
    return f"{prefix}{os.urandom(12).hex()}"


def model_of(payload: Mapping[str, Any]) -> str:
    """Raises InvalidRequest."""
    model = payload.get("model")
    if not isinstance(model, str) or not model:
        raise InvalidRequest("`model` must be a string.", param="model")
    return model


def allowed(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """What of a body may go to the engine."""
    if ENGINE_ONLY.isdisjoint(payload):
        return payload
    return {name: value for name, value in payload.items() if name not in ENGINE_ONLY}


def wants_usage(payload: Mapping[str, Any]) -> bool:
    """Whether the client asked for the usage event of a stream."""
    return (payload.get("stream_options") or {}).get("include_usage") is True


def usage_options(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """A stream always carries its usage: the gateway accounts for it. With every event only for who asked for usage:
    to vLLM that is an option of the other."""
    if payload.get("stream") is not True:
        return {}
    options = dict(payload.get("stream_options") or {})
    if not wants_usage(payload):
        options.pop("continuous_usage_stats", None)
    return {"stream_options": {**options, "include_usage": True}}


def engine_body(
    request: GenerationRequest, context: str, engine_model: str, cache_salt: str, token: str
) -> bytes:
    composed = request.composed(context, token)
    return orjson.dumps({**request.payload, **composed, "model": engine_model, "cache_salt": cache_salt})


def renamed_choices(answer: dict[str, Any], names: Names) -> dict[str, Any]:
    """A whole answer that consists of choices, in our names."""
    for choice in answer["choices"]:
        strip(choice)
    answer["id"], answer["model"] = names.public_id, names.model
    strip(answer)
    return answer


def strip(answer: dict[str, Any]) -> None:
    for name in NOT_OURS & answer.keys():
        del answer[name]


def bounded(event: bytes) -> bytes:
    """The part of an event that has arrived. Raises EngineUnavailable."""
    if len(event) > MAX_EVENT_BYTES:
        raise EngineUnavailable("The engine's answer is too long.")
    return event


def text_of(value: Any) -> str:
    return value if isinstance(value, str) else ""


def counts(usage: Any) -> Mapping[str, int] | None:
    """The numbers of OpenAI's usage object, without its nested details and what no count can be."""
    if not isinstance(usage, dict):
        return None
    return {name: value for name, value in usage.items() if isinstance(value, int) and value >= 0}


def engine_error(status: int, body: bytes, engine_model: str, model: str) -> GatewayError:
    """An engine's refusal as ours: what the client did says why, in the client's words; anything else is not shown."""
    if status not in REFUSALS:
        return EngineUnavailable("The engine could not answer.", retry_after_s=1.0)
    try:
        error = orjson.loads(body)["error"]
        message, param = str(error["message"]), error.get("param")
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        message, param = REFUSED, None
    if engine_model != BASE_NAME and engine_model in message:
        if NOT_LOADED in message:
            return EngineUnavailable("The engine could not load this version.", retry_after_s=1.0)
        message = message.replace(engine_model, model)
    sentences = SENTENCES.findall(_findings(message[:MAX_REFUSAL]))
    shown = "".join(each for each in sentences if FOR_OPERATORS.search(each) is None).strip()
    if TOO_LONG in shown:
        return ContextTooLong(shown)
    field = param.removeprefix("body.") if isinstance(param, str) else None
    return InvalidRequest(shown or REFUSED, param=field)


def _findings(message: str) -> str:
    """A list of what is wrong with which field, as such; anything else as it is."""
    found = FINDINGS.findall(message)
    return "; ".join(f"{field}: {one or other}" for field, one, other in found) if found else message
