"""What runs inside vLLM's own processes, by the entry point `graft` of its group `vllm.general_plugins`.

1. Rows of the base model stay the base model's. On CPU, vLLM 0.32 keeps the requests of one batch apart by the index
   of their adapter's slot, -1 for the base model, and reads the weights as `stacked[indices]`: -1 is the last slot. As
   soon as every slot is filled, requests to the base model are answered with another tenant's adapter whenever they
   share a batch with any adapter's request. The GPU kernels skip such rows, and so does what is put in place here.
2. A resolver: a version that is asked for and not loaded is fetched, verified and loaded.
3. Methods of the worker, through which `adapters.vllm_endpoints` sees its memory and pins in it.
4. Patience on CPU: vLLM's processes wait for each other in a busy loop for a second after every message. Where the
   model runs on the same cores, that takes a core from everybody else; they sleep after a millisecond instead.
5. AMX on CPU: Linux gives a process these registers when it asks. vLLM's attention uses them where the processor has
   them and leaves the asking to a matrix product before it, which short prompts do without: a "Hello" that came first
   ended the engine.
"""

import logging
from collections.abc import Callable
from importlib import import_module
from typing import Any

import httpx

from adapters.artifacts import ArtifactStore
from adapters.engine_cache import EngineCache
from adapters.errors import AdaptersError, StoreUnavailable, UnknownVersion
from adapters.settings import Settings
from adapters.vllm_residents import PIN, STATE, UNPIN

log = logging.getLogger(__name__)

RESOLVER = "graft"
ASK_TIMEOUT_S = 5.0
_EXPANSIONS = ("bgmv_expand", "bgmv_expand_slice")
"""The functions that add an adapter's share to a layer's output; all others are built on them."""
_CORE = "vllm.lora.ops.torch_ops.lora_ops"
_USERS = ("vllm.lora.ops.torch_ops", "vllm.lora.punica_wrapper.punica_cpu")
"""Modules that imported these functions by name."""
_MARK = "of_graft"
BUSY_LOOP_S = 0.001
ASLEEP_MS = 10
"""Then they look by themselves: of two messages within a millisecond the second may wake nobody (zmq drops what goes
over the high-water mark, which is 1 here), and the whole engine would stand still for five seconds."""
_QUEUES = "vllm.distributed.device_communicators.shm_broadcast"

Tensor = Any
"""torch's, which this package does not import."""
Expand = Callable[..., None]


def register() -> None:
    """Called by vLLM once or more in each of its processes, before a model is loaded.

    Raises ImportError or AttributeError, and so keeps the engine from starting, when this vLLM has no such
    functions: a release that was never tried must not serve several tenants by luck. vLLM would only log what
    an import at the top of this file raised, hence the imports by name.
    """
    core, *users = (import_module(name) for name in (_CORE, *_USERS))
    for name in _EXPANSIONS:
        original: Expand = getattr(core, name)
        if hasattr(original, _MARK):
            continue
        replacement = keep_base_rows(original)
        for module in (core, *users):
            if hasattr(module, name):
                setattr(module, name, replacement)
    if import_module("vllm.platforms").current_platform.is_cpu():
        import_module("torch.cpu")._init_amx()
        condition = import_module(_QUEUES).SpinCondition
        condition.__init__.__defaults__ = (BUSY_LOOP_S,)
        if not hasattr(condition.wait, _MARK):
            condition.wait = sleeping_briefly(condition.wait)
    worker = import_module("vllm.v1.worker.worker_base").WorkerBase
    setattr(worker, STATE, lora_state)
    setattr(worker, PIN, pin_lora)
    setattr(worker, UNPIN, unpin_lora)
    registry = import_module("vllm.lora.resolver").LoRAResolverRegistry
    if RESOLVER not in registry.get_supported_resolvers():
        request = import_module("vllm.lora.request").LoRARequest
        registry.register_resolver(RESOLVER, Resolver(Settings(), request))


def sleeping_briefly(wait: Callable[..., None]) -> Callable[..., None]:
    """A method of `SpinCondition` that returns after `ASLEEP_MS` at the latest; who calls it looks again, and keeps the
    time itself."""

    def wait_briefly(condition: Any, timeout_ms: int | None = None) -> None:
        wait(condition, ASLEEP_MS if timeout_ms is None else min(timeout_ms, ASLEEP_MS))

    setattr(wait_briefly, _MARK, True)
    return wait_briefly


def keep_base_rows(expand: Expand) -> Expand:
    """`expand` for the rows that have an adapter; rows of the base model (index -1) stay as they are.

    Arguments as in vLLM: inputs (rows, rank), weights (slots, 1, features, rank), output (rows, features),
    which is changed in place, and slot indices (rows).
    """

    def expand_adapted(
        inputs: Tensor, weights: Tensor, output: Tensor, indices: Tensor, *args: Any, **kwargs: Any
    ) -> None:
        adapted = indices >= 0
        if bool(adapted.all()):
            expand(inputs, weights, output, indices, *args, **kwargs)
        elif bool(adapted.any()):
            part = output[adapted]
            expand(inputs[adapted], weights, part, indices[adapted], *args, **kwargs)
            output[adapted] = part

    setattr(expand_adapted, _MARK, True)
    return expand_adapted


class Resolver:
    """vLLM's port for resolvers. request: vLLM's LoRARequest."""

    def __init__(self, settings: Settings, request: Callable[..., Any]) -> None:
        self._request = request
        self._control = settings.control_url.rstrip("/")
        self._headers = {"authorization": f"Bearer {settings.engine_key}"}
        self.fetches = bool(settings.artifacts_url or self._control)
        """Whether there is anywhere to fetch from."""
        self.cache = EngineCache(
            settings.engine_cache, settings.engine_cache_bytes, self._store(settings), self._digest_of
        )

    async def resolve_lora(self, base_model_name: str, lora_name: str) -> Any:
        """A request with the path of verified files; None for a version that control does not know, or cannot give
        now."""
        if not self.fetches:
            return None
        try:
            path = await self.cache.path_of(lora_name)
        except AdaptersError as error:
            log.warning("%s was asked for and cannot be loaded: %s", lora_name, error)
            return None
        return self._request(lora_name=lora_name, lora_int_id=1, lora_path=str(path))

    def _store(self, settings: Settings) -> ArtifactStore:
        if settings.artifacts_url or not self._control:
            return ArtifactStore(settings.artifact_store)
        client = {"headers": self._headers, "trust_env": False}
        return ArtifactStore(f"{self._control}/engine/v1/artifacts", client_kwargs=client)

    async def _digest_of(self, version_id: str) -> str:
        if not self._control:
            raise UnknownVersion(version_id)
        url = f"{self._control}/engine/v1/versions/{version_id}"
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=ASK_TIMEOUT_S) as http:
                response = await http.get(url, headers=self._headers)
                if response.status_code == 404:
                    raise UnknownVersion(version_id)
                return str(response.raise_for_status().json()["artifact_digest"])
        except httpx.HTTPError as error:
            raise StoreUnavailable(f"the digest of {version_id}", error) from error


def lora_state(worker: Any) -> dict[str, Any]:
    """A method of vLLM's worker: adapters by vLLM's numbers, in memory, in slots (None is a free one), pinned."""
    manager = worker.model_runner.lora_manager._adapter_manager
    return {
        "memory": sorted(manager.list_adapters()),
        "slots": list(manager.lora_index_to_id),
        "pinned": sorted(manager._registered_adapters.pinned_items),
        "capacity": int(manager.capacity),
    }


def pin_lora(worker: Any, number: int) -> bool:
    """A method of vLLM's worker, whose own pins a slot too; False for what is not in memory."""
    memory = worker.model_runner.lora_manager._adapter_manager._registered_adapters
    if number in memory:
        memory.pin(number)
    return number in memory


def unpin_lora(worker: Any, number: int) -> None:
    """A method of vLLM's worker, which can pin but not let go."""
    worker.model_runner.lora_manager._adapter_manager._registered_adapters.pinned_items.discard(number)
