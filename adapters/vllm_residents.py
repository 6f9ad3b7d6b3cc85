"""The versions inside one vLLM: what its memory really holds, and the ways in and out. Runs in its API server.

vLLM keeps a name in three places that know nothing of each other: names in the API server, adapters in the
worker's memory (`--max-cpu-loras`, least recently used first out), and slots that a batch computes with
(`--max-loras`). Its own unload route forgets only the name.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.artifacts import hex_of
from adapters.engine_cache import EngineCache
from adapters.errors import AdaptersError

STATE, PIN, UNPIN = "graft_lora_state", "graft_pin_lora", "graft_unpin_lora"
"""What `adapters.vllm_plugin` adds to the worker's methods."""
FILES = ("adapter_config.json", "adapter_model.safetensors")
"""What vLLM reads of a version."""
SEEN_S = 1.0
"""For so long files that were there are taken to be there: each request asks twice, and a disk may be slow."""


@dataclass(frozen=True)
class Resident:
    """One version. `name` None: an adapter that was loaded and forgotten behind our back."""

    name: str | None
    servable: bool
    """Whether requests may name it: it has a name, and its files are there."""
    in_memory: bool
    in_slot: bool
    pinned: bool


@dataclass(frozen=True)
class Residency:
    versions: list[Resident]
    slots: int
    memory: int
    """How many versions memory may hold."""


class TooManyPinned(Exception):
    """As many places in memory as there are slots must stay free to change, or the next batch would end the engine."""


class NotLoaded(Exception):
    """There is nothing of this name to pin."""


class OtherFiles(Exception):
    """A version of this name is loaded from other files. vLLM knows a version by its name: it would go on with what it
    has computed of these."""


class Residents:
    """models: vLLM's OpenAIServingModels. client: its EngineClient."""

    def __init__(self, models: Any, client: Any, cache: EngineCache) -> None:
        self._models = models
        self._client = client
        self._cache = cache
        self._names: dict[int, str] = {}
        """Our names by vLLM's numbers, of all that memory may still hold."""
        self._pinning = asyncio.Lock()
        cache.in_use = self._paths

    async def all(self) -> Residency:
        """What the engine itself says."""
        state = await self._state()
        held, slots, pinned = set(state["memory"]), set(state["slots"]) - {None}, set(state["pinned"])
        requests = self._models.lora_requests
        known = {request.lora_int_id for request in requests.values()}
        servable = {request.lora_int_id for name, request in requests.items() if name in requests}
        self._names = {number: name for number, name in self._names.items() if number in held | known}
        found = [
            Resident(
                self._names.get(number), number in servable, number in held, number in slots, number in pinned
            )
            for number in sorted(held | known)
        ]
        return Residency(found, len(state["slots"]), state["capacity"])

    async def load(self, name: str, digest: str, protocol: Any) -> Any:
        """Fetch, verify, load; None, or vLLM's ErrorResponse. protocol: the class of its load requests.

        Raises OtherFiles, and what `EngineCache.path_of` does.
        """
        request = self._models.lora_requests.get(name)
        if request is not None and (held := Path(request.lora_path).name) != hex_of(digest):
            raise OtherFiles(f"it is loaded with the files of sha256:{held}")
        if name in self._models.lora_requests:
            return None
        path = await self._cache.path_of(name, digest)
        answer = await self._models.load_lora_adapter(protocol(lora_name=name, lora_path=str(path)))
        return None if isinstance(answer, str) or name in self._models.lora_requests else answer

    async def remove(self, name: str) -> bool:
        """Out of names, memory and slots; whether it was there. Whoever asks has waited for its last request: one
        that still runs would bring it back from disk."""
        self._note_names()
        async with self._models.lora_resolver_lock[name]:
            known = self._models.lora_requests.pop(name, None) is not None
            for number in [number for number, each in self._names.items() if each == name]:
                known = await self._client.remove_lora(number) or known
        self._cache.forget(name)
        return known

    async def pin(self, name: str) -> None:
        """Keep in memory, from where a slot is filled without reading files. No slot is kept: vLLM batches as many
        adapters as it has slots, and ends when some of these are taken. Raises NotLoaded, TooManyPinned."""
        request = self._models.lora_requests.get(name)
        if request is None:
            raise NotLoaded(name)
        async with self._pinning:
            state = await self._state()
            number, pinned, most = (
                request.lora_int_id,
                state["pinned"],
                state["capacity"] - len(state["slots"]),
            )
            if number not in pinned and len(pinned) >= most:
                raise TooManyPinned(f"{len(pinned)} are pinned, of the {most} that may be")
            if number not in state["memory"]:
                await self._client.add_lora(request)
            if not all(await self._client.collective_rpc(PIN, args=(number,))):
                raise NotLoaded(name)

    async def unpin(self, name: str) -> None:
        """Unpinning what is not pinned is no error. Raises NotLoaded."""
        request = self._models.lora_requests.get(name)
        if request is None:
            raise NotLoaded(name)
        await self._client.collective_rpc(UNPIN, args=(request.lora_int_id,))

    def _note_names(self) -> None:
        self._names |= {each.lora_int_id: each.lora_name for each in self._models.lora_requests.values()}

    async def _state(self) -> Any:
        self._note_names()
        state, *_ = await self._client.collective_rpc(STATE)
        return state

    def _paths(self) -> set[str]:
        return {Path(request.lora_path).name for request in self._models.lora_requests.values()}


class _Readable(dict[str, Any]):
    """Requests by name, as vLLM keeps them. One whose files are gone is there to be read, and not contained."""

    def __init__(self, requests: Mapping[str, Any]) -> None:
        super().__init__(requests)
        self._seen: set[str] = set()
        """Directories whose files were there at `_since` or later."""
        self._since = 0.0

    def __contains__(self, name: object) -> bool:
        request = self.get(name)  # type: ignore[call-overload]
        return request is not None and self._readable(request.lora_path)

    def _readable(self, directory: str) -> bool:
        now = time.monotonic()
        if now - self._since >= SEEN_S:
            self._seen, self._since = set(), now
        if directory not in self._seen and all(os.path.isfile(f"{directory}/{file}") for file in FILES):
            self._seen.add(directory)
        return directory in self._seen


def keep_readable(models: Any, cache: EngineCache) -> None:
    """Have vLLM look for a version's files before a request of it is taken, and have them fetched to where they were
    when they are gone. vLLM reads what memory has let go in the middle of a step, and ends when it finds nothing.

    models: as for `Residents`.
    """
    models.lora_requests = _Readable(models.lora_requests)
    resolve = models.resolve_lora

    async def restored(name: str) -> Any:
        if models.lora_requests.get(name) is not None:
            with contextlib.suppress(AdaptersError):
                await cache.path_of(name)
        return await resolve(name)

    models.resolve_lora = restored
