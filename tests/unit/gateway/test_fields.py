"""Every field that vLLM offers is one that we know: it passes, or is kept from the engine for a reason. A release with
a new one fails here, before a tenant finds what it does. Read from vLLM's source: importing it takes half a minute."""

import ast
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.bounds import MAX_STOPS
from gateway.chat_request import TEXT_PARTS, ChatRequest
from gateway.completion_request import CompletionRequest
from gateway.parts import MEDIA
from gateway.protocol import ENGINE_ONLY, NOT_OURS, GenerationRequest, engine_body
from gateway.response_request import FORGOTTEN, REFUSED, ResponseRequest

SAMPLING = {
    "bad_words", "frequency_penalty", "ignore_eos", "include_stop_str_in_output", "length_penalty", "logit_bias",
    "logprob_token_ids", "logprobs", "max_tokens", "min_p", "min_tokens", "n", "presence_penalty",
    "repetition_detection", "repetition_penalty", "seed", "skip_special_tokens", "spaces_between_special_tokens",
    "stop", "stop_token_ids", "structured_outputs", "temperature", "thinking_token_budget", "top_k", "top_p",
    "allowed_token_ids", "use_beam_search", "watermarking", "response_format", "return_tokens_as_token_ids",
    "stream_interval", "truncate_prompt_tokens", "truncation_side", "add_special_tokens", "echo", "user",
}  # fmt: skip
TALKING = {
    "chat_template_kwargs", "include_reasoning", "parallel_tool_calls", "tool_choice", "tools", "top_logprobs",
}  # fmt: skip
PASSING: dict[type[GenerationRequest], set[str]] = {
    ChatRequest: {
        *SAMPLING, *TALKING, "add_generation_prompt", "continue_final_message", "documents",
        "max_completion_tokens", "reasoning_effort",
    },
    CompletionRequest: {*SAMPLING, "suffix"},
    ResponseRequest: {
        *SAMPLING, *TALKING, "include", "max_output_tokens", "max_tool_calls", "metadata", "prompt_cache_key",
        "reasoning", "service_tier", "text", "truncation",
    },
}  # fmt: skip
OWN = {"input", "instructions", "messages", "model", "prompt", "stream", "stream_options"}
"""Fields that the gateway reads and writes itself."""
ASKED: dict[type[GenerationRequest], dict[str, object]] = {
    ChatRequest: {"messages": [{"role": "user", "content": "Hi"}]},
    CompletionRequest: {"prompt": "Hi"},
    ResponseRequest: {"input": "Hi"},
}
FILES = {
    ChatRequest: ("chat_completion", "ChatCompletionRequest"),
    CompletionRequest: ("completion", "CompletionRequest"),
    ResponseRequest: ("responses", "ResponsesRequest"),
}
PARSE: dict[type[GenerationRequest], Callable[[bytes], GenerationRequest]] = {
    ChatRequest: ChatRequest.parse,
    CompletionRequest: CompletionRequest.parse,
    ResponseRequest: ResponseRequest.parse,
}
each_kind = pytest.mark.parametrize("kind", PASSING)


def vllm() -> Path:
    found = importlib.util.find_spec("vllm")
    assert found is not None and found.origin is not None
    return Path(found.origin).parent


def offered(kind: type[GenerationRequest]) -> set[str]:
    folder, name = FILES[kind]
    tree = ast.parse((vllm() / "entrypoints/openai" / folder / "protocol.py").read_text())
    (found,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    lines = [
        line for line in found.body if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
    ]
    return {line.target.id for line in lines if not line.target.id.startswith("_")}


@each_kind
def test_every_field_of_vllm_is_known(kind: type[GenerationRequest]) -> None:
    kept = {*OWN, *ENGINE_ONLY, *REFUSED, *FORGOTTEN} if kind is ResponseRequest else {*OWN, *ENGINE_ONLY}
    found = offered(kind)
    assert len(found) > 40
    assert found - kept - PASSING[kind] == set()
    assert found & ENGINE_ONLY & PASSING[kind] == set()


@each_kind
def test_a_field_that_passes_reaches_the_engine_as_it_came(kind: type[GenerationRequest]) -> None:
    passing = sorted(PASSING[kind] & offered(kind))
    values: dict[str, object] = {name: {"any": [name]} for name in passing}
    values |= {name: 3 for name in ("n", "max_tokens", "max_completion_tokens", "max_output_tokens")}
    values |= {"stop": ["END"], "tools": [{"type": "function"}], "echo": False}
    given = {name: values[name] for name in passing}
    request = PARSE[kind](json.dumps({"model": "default", **ASKED[kind], **given}).encode())
    body = json.loads(engine_body(request, "", "ver_1", "salt", "abc"))
    assert {name: body[name] for name in passing} == given


def test_as_many_stop_texts_pass_as_vllm_takes() -> None:
    tree = ast.parse((vllm() / "envs.py").read_text())
    (most,) = (
        line.value.value
        for line in ast.walk(tree)
        if isinstance(line, ast.AnnAssign)
        and getattr(line.target, "id", "") == "VLLM_MAX_STOP_STRINGS"
        and isinstance(line.value, ast.Constant)
    )
    assert most == MAX_STOPS


def test_parts_that_are_no_text_to_vllm_are_none_to_us() -> None:
    tree = ast.parse((vllm() / "renderers/chat_utils.py").read_text())
    (kinds,) = (
        line.value
        for line in tree.body
        if isinstance(line, ast.AnnAssign) and getattr(line.target, "id", "") == "MM_PARSER_MAP"
    )
    assert isinstance(kinds, ast.Dict)
    names = {key.value for key in kinds.keys if isinstance(key, ast.Constant)}
    assert names - MEDIA == TEXT_PARTS


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("chat_completion", "ChatCompletionResponse"),
        ("chat_completion", "ChatCompletionResponseChoice"),
        ("completion", "CompletionResponse"),
        ("completion", "CompletionResponseChoice"),
        ("responses", "ResponsesResponse"),
    ],
)
def test_every_field_of_an_answer_is_known(folder: str, name: str) -> None:
    tree = ast.parse((vllm() / "entrypoints/openai" / folder / "protocol.py").read_text())
    (found,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    fields = {line.target.id for line in found.body if isinstance(line, ast.AnnAssign)}  # type: ignore[union-attr]
    assert fields - set(NOT_OURS) - ANSWERED == set()


ANSWERED = {
    "background", "choices", "created", "created_at", "finish_reason", "frequency_penalty", "id",
    "incomplete_details", "index", "instructions", "logprobs", "max_output_tokens", "max_tool_calls", "message",
    "metadata", "model", "object", "output", "parallel_tool_calls", "presence_penalty", "previous_response_id",
    "prompt", "reasoning", "service_tier", "status", "stop_reason", "temperature", "text",
    "token_ids", "tool_choice", "tools", "top_logprobs", "top_p", "truncation", "usage", "user",
}  # fmt: skip
"""`token_ids` come only with a field that we drop; the others are the client's own or OpenAI's."""
