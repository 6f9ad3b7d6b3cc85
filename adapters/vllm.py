"""The engine port over vLLM's HTTP interface. No vLLM is imported: the engine is another process, or another
host.

What vLLM 0.32 does that this module levels out: loading a name twice is 400, unloading an unknown one is 404,
a refused adapter is 500 with the reason in the body, and `/v1/models` lists adapters beside the base model.

With our plugin (`adapters.vllm_endpoints`) a version is fetched by the engine, really removed, and residency is what
memory holds. Without it the routes under `/graft` are 404, and vLLM's own are used: files must be on a path that the
engine can read, `/v1/unload_lora_adapter` forgets only the name, and the slot is reused when another adapter needs it.
"""

import contextlib
import math
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx

from adapters.engine import Completion, Holding
from adapters.errors import EngineRefused, EngineUnavailable
from adapters.slots import Slots
from adapters.types import BASE_NAME

LOAD_TIMEOUT_S = 30.0
"""Reading an adapter from a cold disk beside a busy step thread takes seconds, not the milliseconds it
usually does."""
PULL_TIMEOUT_S = 300.0
"""A large artifact from a store far away."""
CHAT_TIMEOUT_S = 60.0
ASK_TIMEOUT_S = 5.0
PLUGIN = "/graft/versions"
_DROPPED = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)
"""A connection that ended under a request, most often one that was kept alive and that the engine closed just
then."""
Read = TypeVar("Read")


class VllmEngine:
    """One vLLM replica at `url`, asked with `token` as its API key. The client is shared and not closed
    here."""

    def __init__(
        self,
        url: str,
        token: str,
        http: httpx.AsyncClient,
        base_digest: str = "",
        slots: Slots | None = None,
    ) -> None:
        """base_digest: may be left out by who loads nothing through `adapters.loading`. slots: the engines' as this
        process has them; None for who shares the replica with nobody."""
        self._url = url.rstrip("/")
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        self._http = http
        self._base_digest = base_digest
        self._slots = slots

    @property
    def url(self) -> str:
        return self._url

    @property
    def base_digest(self) -> str:
        return self._base_digest

    async def pull(self, version_id: str, digest: str) -> bool:
        body = {"artifact_digest": digest}
        response = await self._send("PUT", f"{PLUGIN}/{version_id}", body, PULL_TIMEOUT_S)
        if response.status_code in (404, 501):
            return False
        if response.status_code == 503:
            raise EngineUnavailable(self._url, _reason(response))
        self._accept(response)
        return True

    async def pin(self, version_id: str) -> None:
        self._accept(await self._send("PUT", f"{PLUGIN}/{version_id}/pin", None, ASK_TIMEOUT_S))

    async def unpin(self, version_id: str) -> None:
        self._accept(await self._send("DELETE", f"{PLUGIN}/{version_id}/pin", None, ASK_TIMEOUT_S))

    async def load(self, version_id: str, path: Path) -> None:
        body = {"lora_name": version_id, "lora_path": str(path)}
        response = await self._send("POST", "/v1/load_lora_adapter", body, LOAD_TIMEOUT_S)
        if response.status_code == 400 and "already been loaded" in response.text:
            return
        self._accept(response)

    async def unload(self, version_id: str) -> None:
        response = await self._send("DELETE", f"{PLUGIN}/{version_id}", None, ASK_TIMEOUT_S)
        if response.status_code != 404:
            self._accept(response)
            return
        body = {"lora_name": version_id}
        response = await self._send("POST", "/v1/unload_lora_adapter", body, ASK_TIMEOUT_S)
        if response.status_code != 404:
            self._accept(response)

    async def holding(self) -> Holding:
        response = await self._send("GET", PLUGIN, None, ASK_TIMEOUT_S)
        if response.status_code != 404:
            return self._read(response, _residency)
        return self._read(await self._send("GET", "/v1/models", None, ASK_TIMEOUT_S), _adapters_listed)

    async def resident(self) -> frozenset[str]:
        return (await self.holding()).resident

    async def healthy(self) -> bool:
        try:
            return (await self._send("GET", "/health", None, ASK_TIMEOUT_S)).status_code == 200
        except EngineUnavailable:
            return False

    async def chat(
        self,
        model: str,
        messages: Sequence[Mapping[str, Any]],
        max_tokens: int,
        temperature: float = 0.0,
        n: int = 1,
        seed: int | None = None,
        top_logprobs: int | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> Completion:
        body: dict[str, Any] = {
            "model": model,
            "messages": list(messages),
            "max_tokens": max_tokens,
            "temperature": temperature,
            "n": n,
        }
        if seed is not None:
            body["seed"] = seed
        if top_logprobs is not None:
            body |= {"logprobs": True, "top_logprobs": top_logprobs, "return_tokens_as_token_ids": True}
        if tools:
            body |= {"tools": list(tools), "tool_choice": "none"}
        async with self._slot(model):
            response = await self._send("POST", "/v1/chat/completions", body, CHAT_TIMEOUT_S)
        return self._read(response, _completion)

    @contextlib.asynccontextmanager
    async def _slot(self, model: str) -> AsyncIterator[None]:
        """A version's slot for as long as it answers. Raises EngineUnavailable when none comes free."""
        if self._slots is None or model == BASE_NAME:
            yield
            return
        slot = await self._slots.enter(self._url, model)
        try:
            yield
        finally:
            slot.release()

    async def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None, timeout_s: float
    ) -> httpx.Response:
        """Tried again once when the connection drops: every request of this port may be repeated, a second load
        or unload included."""

        async def once() -> httpx.Response:
            return await self._http.request(
                method, self._url + path, json=body, headers=self._headers, timeout=timeout_s
            )

        try:
            try:
                return await once()
            except _DROPPED:
                return await once()
        except httpx.HTTPError as error:
            raise EngineUnavailable(self._url, f"{method} {path}: {type(error).__name__} {error}") from error

    def _accept(self, response: httpx.Response) -> httpx.Response:
        if response.status_code != 200:
            raise EngineRefused(self._url, response.status_code, _reason(response))
        return response

    def _read(self, response: httpx.Response, read: Callable[[Any], Read]) -> Read:
        """Raises EngineUnavailable for an answer that is none of vLLM's, as of whatever else listens in its place."""
        try:
            return read(self._accept(response).json())
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            reason = f"its answer cannot be read: {type(error).__name__}: {error}"
            raise EngineUnavailable(self._url, reason) from error


def _residency(answer: Mapping[str, Any]) -> Holding:
    """Of our plugin."""
    named = [version for version in answer["data"] if version["id"]]
    serving = _ids(version for version in named if version["servable"])
    pinned = _ids(version for version in named if version["pinned"])
    return Holding(_ids(named), pinned, _ids(named) - serving)


def _adapters_listed(answer: Mapping[str, Any]) -> Holding:
    """Of vLLM itself, which lists its base model beside them."""
    return Holding(_ids(model for model in answer["data"] if model.get("parent")), None)


def _ids(versions: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    return frozenset(str(version["id"]) for version in versions)


def _completion(answer: Mapping[str, Any]) -> Completion:
    choices = sorted(answer["choices"], key=lambda choice: int(choice["index"]))
    usage = answer["usage"]
    return Completion(
        texts=[choice["message"]["content"] or "" for choice in choices],
        prompt_tokens=usage["prompt_tokens"],
        completion_tokens=usage.get("completion_tokens") or 0,
        first_token_logprobs=_first_token(choices[0].get("logprobs")),
    )


def _first_token(logprobs: Mapping[str, Any] | None) -> Mapping[str, float] | None:
    """Keyed by the token's id, as it was asked for: pieces of characters all print as one replacement mark."""
    if not logprobs or not logprobs.get("content"):
        return None
    found: dict[str, float] = {}
    for entry in logprobs["content"][0]["top_logprobs"]:
        value = entry["logprob"]
        found[str(entry["token"])] = math.nan if value is None else float(value)
    return found


def _reason(response: httpx.Response) -> str:
    """The engine's own sentence, from any of the shapes in which it reports errors; short enough for a log
    line."""
    try:
        body = response.json()
    except ValueError:
        return response.text[:500]
    error = body.get("error", body) if isinstance(body, dict) else body
    message = error.get("message") if isinstance(error, dict) else error
    return str(message)[:500]
