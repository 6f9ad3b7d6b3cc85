"""The chat protocol at the edge: a client's body in, the engine's body out, and the engine's answer renamed.

Nothing of the engine's own naming passes: ids and model names in answers are ours, and what an engine's error
says about a model is said in the client's words.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.errors import EngineUnavailable, GatewayError, InvalidRequest
from training.types import question_of

ENGINE_ONLY = frozenset(
    {
        "cache_salt",
        "chat_template",
        "documents",
        "kv_transfer_params",
        "logits_processors",
        "lora_path",
        "lora_request",
        "media_io_kwargs",
        "mm_payload",
        "mm_processor_kwargs",
        "priority",
        "prompt_embeds",
        "request_id",
        "return_mm_kwargs",
        "return_prompt_text",
        "return_token_ids",
        "routed_experts_prompt_start",
        "session_id",
        "vllm_xargs",
    }
)
"""Fields that reach past a tenant or into the engine; they are dropped. `return_*` would show the composed
prompt."""
NOT_OURS = ("prompt_logprobs", "prompt_token_ids", "prompt_text", "kv_transfer_params", "mm_kwargs")
"""Parts of an engine's answer that show the composed prompt or the engine itself."""
MAX_CHOICES = 16
TEXT_PARTS = frozenset({"text", "refusal"})


@dataclass(frozen=True)
class ChatRequest:
    """A client's request, checked as far as the gateway depends on it; the engine checks the rest."""

    payload: Mapping[str, Any]
    """Without the fields that only the gateway may set."""
    model: str
    messages: Sequence[Mapping[str, Any]]
    stream: bool
    wants_usage: bool
    """Whether the client asked for the usage chunk of a stream."""

    @property
    def question(self) -> str:
        return question_of(self.messages)

    @property
    def token_estimate(self) -> int:
        """What to reserve: four bytes a token for the prompt, and what the client allows for the answer."""
        text = sum(len(str(message.get("content") or "")) for message in self.messages)
        allowed = self.payload.get("max_completion_tokens") or self.payload.get("max_tokens") or 256
        return text // 4 + int(allowed)


def new_id(prefix: str) -> str:
    return f"{prefix}{secrets.token_hex(12)}"


def parse_chat(body: bytes) -> ChatRequest:
    """Raises InvalidRequest, with the field at fault as `param`."""
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"The body is not JSON: {error}") from error
    if not isinstance(payload, dict):
        raise InvalidRequest("The body must be a JSON object.")
    model = payload.get("model")
    if not isinstance(model, str) or not model:
        raise InvalidRequest("`model` must be a string.", param="model")
    messages = _messages(payload.get("messages"))
    _check_bounds(payload)
    options = payload.get("stream_options")
    return ChatRequest(
        payload={name: value for name, value in payload.items() if name not in ENGINE_ONLY},
        model=model,
        messages=messages,
        stream=payload.get("stream") is True,
        wants_usage=isinstance(options, dict) and options.get("include_usage") is True,
    )


def _messages(messages: Any) -> Sequence[Mapping[str, Any]]:
    if not isinstance(messages, list) or not messages:
        raise InvalidRequest("`messages` must be a list with at least one message.", param="messages")
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise InvalidRequest("A message is an object with a role.", param=f"messages[{index}]")
        content = message.get("content")
        if isinstance(content, list):
            _check_parts(content, f"messages[{index}].content")
    return messages


def _check_parts(parts: Sequence[Any], param: str) -> None:
    """The engine must not fetch URLs for a tenant, and the served models read text."""
    for part in parts:
        if not isinstance(part, dict) or part.get("type") not in TEXT_PARTS:
            raise InvalidRequest("Only text content is served.", param=param)


def _check_bounds(payload: Mapping[str, Any]) -> None:
    bounds = {"n": MAX_CHOICES, "max_tokens": 1 << 20, "max_completion_tokens": 1 << 20}
    for name, most in bounds.items():
        value = payload.get(name)
        whole = isinstance(value, int) and not isinstance(value, bool)
        if value is not None and not (whole and 1 <= value <= most):
            raise InvalidRequest(f"`{name}` must be a whole number from 1 to {most}.", param=name)
    if not isinstance(payload.get("stream", False), bool | None):
        raise InvalidRequest("`stream` must be true or false.", param="stream")


def engine_payload(
    request: ChatRequest, messages: Sequence[Mapping[str, Any]], model: str, cache_salt: str
) -> bytes:
    """The body for the engine. A stream always carries its usage: the gateway accounts for it."""
    payload = {**request.payload, "model": model, "messages": messages, "cache_salt": cache_salt}
    if request.stream:
        options = request.payload.get("stream_options")
        payload["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
    return orjson.dumps(payload)


@dataclass(frozen=True)
class Outcome:
    """What an answer came to, for accounting and the journal."""

    text: str = ""
    usage: Mapping[str, int] | None = None


def rename_answer(body: bytes, public_id: str, model: str) -> tuple[bytes, Outcome]:
    """An engine's whole answer in our names. Raises EngineUnavailable when it is not an answer."""
    try:
        answer = orjson.loads(body)
        choices = answer["choices"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise EngineUnavailable("The engine's answer could not be read.", retry_after_s=1.0) from error
    answer["id"], answer["model"] = public_id, model
    for name in NOT_OURS:
        answer.pop(name, None)
    text = choices[0].get("message", {}).get("content") if choices else None
    return orjson.dumps(answer), Outcome(text or "", counts(answer.get("usage")))


def counts(usage: Any) -> Mapping[str, int] | None:
    """The numbers of OpenAI's usage object, without its nested details."""
    if not isinstance(usage, dict):
        return None
    return {name: value for name, value in usage.items() if isinstance(value, int)}


def engine_error(status: int, body: bytes, engine_model: str, model: str) -> GatewayError:
    """An engine's refusal as ours: a 4xx is the client's fault and says why, anything else is not shown."""
    if status not in (400, 413, 422):
        return EngineUnavailable("The engine could not answer.", retry_after_s=1.0)
    try:
        error = orjson.loads(body)["error"]
        message, param = str(error["message"]), error.get("param")
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        message, param = "The engine refused the request.", None
    named = message if engine_model == model else message.replace(engine_model, model)
    return InvalidRequest(named, param=param if isinstance(param, str) else None)
