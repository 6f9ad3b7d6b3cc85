"""Answers in the shapes of vLLM's three endpoints. Each says what it was asked, so that a leak would show."""

import json
from collections.abc import Sequence
from typing import Any

Words = Sequence[str]
Payload = dict[str, Any]

FINGERPRINT = "vllm-0.32.0-0a1b2c3d"
USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


class Chat:
    id = "chatcmpl-upstream"
    kind = "chat.completion"
    chunk = "chat.completion.chunk"

    def choice(self, text: str, payload: Payload) -> dict[str, Any]:
        return {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}

    def deltas(self, words: Words) -> list[dict[str, Any]]:
        said = [{"role": "assistant", "content": ""}, *({"content": word} for word in words)]
        return [{"index": 0, "delta": delta} for delta in said]

    def answer(self, payload: Payload, words: Words) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": self.kind,
            "created": 1,
            "model": payload["model"],
            "choices": [self.choice("".join(words), payload)],
            "usage": USAGE,
            "system_fingerprint": FINGERPRINT,
            "prompt_logprobs": None,
            "kv_transfer_params": None,
        }

    def events(self, payload: Payload, words: Words) -> list[str]:
        head = {"id": self.id, "object": self.chunk, "created": 1, "model": payload["model"]}
        chunks = [{**head, "choices": [choice]} for choice in self.deltas(words)]
        if (payload.get("stream_options") or {}).get("include_usage"):
            chunks.append({**head, "choices": [], "usage": USAGE, "system_fingerprint": FINGERPRINT})
        return [f"data: {compact(chunk)}\n\n" for chunk in chunks] + ["data: [DONE]\n\n"]


class Completion(Chat):
    id = "cmpl-upstream"
    kind = chunk = "text_completion"

    def choice(self, text: str, payload: Payload) -> dict[str, Any]:
        return {
            "index": 0,
            "text": text,
            "logprobs": None,
            "finish_reason": "stop",
            "prompt_token_ids": [1, 2],
            "prompt_logprobs": [None],
        }

    def deltas(self, words: Words) -> list[dict[str, Any]]:
        return [{"index": 0, "text": word, "logprobs": None, "finish_reason": None} for word in ("", *words)]


class Response:
    def answer(self, payload: Payload, words: Words, status: str = "completed") -> dict[str, Any]:
        done = status == "completed"
        usage = {
            "input_tokens": 7,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 2,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 9,
        }
        return {
            "id": payload.get("request_id", "resp_upstream"),
            "created_at": 1,
            "instructions": payload.get("instructions"),
            "metadata": payload.get("metadata"),
            "model": payload["model"],
            "object": "response",
            "output": [self.item(words)] if done else [],
            "parallel_tool_calls": True,
            "temperature": 1.0,
            "tool_choice": "none",
            "tools": [],
            "top_p": 1.0,
            "background": False,
            "max_output_tokens": 16,
            "previous_response_id": None,
            "status": status,
            "text": payload.get("text"),
            "truncation": "disabled",
            "usage": usage if done else None,
            "user": None,
            "kv_transfer_params": None,
            "input_messages": payload["input"],
        }

    def item(self, words: Words, status: str = "completed") -> dict[str, Any]:
        part = {"type": "output_text", "text": "".join(words), "annotations": [], "logprobs": None}
        content = [part] if words else []
        return {"id": "msg_1", "type": "message", "role": "assistant", "status": status, "content": content}

    def events(self, payload: Payload, words: Words) -> list[str]:
        at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
        begun = self.answer(payload, (), "in_progress")
        part = {"type": "output_text", "text": "", "annotations": []}
        events: list[dict[str, Any]] = [
            {"type": "response.created", "response": begun},
            {"type": "response.in_progress", "response": begun},
            {"type": "response.output_item.added", "output_index": 0, "item": self.item((), "in_progress")},
            {"type": "response.content_part.added", **at, "part": part},
            *({"type": "response.output_text.delta", **at, "delta": word, "logprobs": []} for word in words),
            {"type": "response.output_text.done", **at, "text": "".join(words), "logprobs": []},
            {"type": "response.content_part.done", **at, "part": {**part, "text": "".join(words)}},
            {"type": "response.output_item.done", "output_index": 0, "item": self.item(words)},
            {"type": "response.completed", "response": self.answer(payload, words)},
        ]
        return [
            f"event: {event['type']}\ndata: {compact({**event, 'sequence_number': number})}\n\n"
            for number, event in enumerate(events)
        ]


SHAPES: dict[str, Chat | Response] = {
    "/v1/chat/completions": Chat(),
    "/v1/completions": Completion(),
    "/v1/responses": Response(),
}
