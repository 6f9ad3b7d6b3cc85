"""A process that speaks an engine's protocol and our plugin's, and holds no model: for tests of who holds what.

`python -m tests.integration.light_engine PORT`. What is not loaded is unknown, as in an engine that was started anew.
"""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

from adapters.types import BASE_NAME
from adapters.vllm import PLUGIN
from gateway.probes import Probes
from gateway.supervisor import ProcessSpec
from tests.unit.gateway.stub_shapes import SHAPES

CHAT = "/v1/chat/completions"
CALLS = "/calls"
"""What was done, in order: loaded (`PUT ver_1`), unloaded (`DELETE`), asked (`POST`)."""
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class LightEngine:
    """Holds names. Every version says its own id, with other odds than the base model, after as many seconds as the
    request's `seed` says."""

    def __init__(self) -> None:
        self._held: set[str] = set()
        self._calls: list[str] = []

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        method, path, body = scope["method"], scope["path"], b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        if path == CHAT:
            await asyncio.sleep(json.loads(body).get("seed") or 0)
        status, document = self._answer(method, path, body)
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(document).encode()})

    def _answer(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        if path == CHAT:
            return self._chat(json.loads(body))
        if path == CALLS:
            return 200, {"data": self._calls}
        if path == PLUGIN:
            listed = [{"id": name, "servable": True, "pinned": False} for name in sorted(self._held)]
            return 200, {"data": listed}
        if path.startswith(PLUGIN):
            change = self._held.add if method == "PUT" else self._held.discard
            change(path.removeprefix(f"{PLUGIN}/"))
            self._calls.append(f"{method} {path.removeprefix(f'{PLUGIN}/')}")
        return 200, {}

    def _chat(self, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        model = asked["model"]
        self._calls.append(f"POST {model}")
        if model != BASE_NAME and model not in self._held:
            return 404, {"error": {"message": f"The model `{model}` does not exist.", "code": 404}}
        answer = SHAPES[CHAT].answer(asked, (model,))
        logprob = -0.1 if model == BASE_NAME else -0.9
        token = {"token": "a", "logprob": logprob, "bytes": [97]}
        answer["choices"][0]["logprobs"] = {"content": [{**token, "top_logprobs": [token]}]}
        return 200, answer


def light_engine(name: str, port: int, probes: Probes) -> ProcessSpec:
    command = [sys.executable, "-m", "tests.integration.light_engine", str(port)]
    return ProcessSpec(name, command, dict(os.environ), probes.http(f"http://127.0.0.1:{port}/health"))


if __name__ == "__main__":
    uvicorn.run(LightEngine(), port=int(sys.argv[1]), lifespan="off", log_level="warning")
