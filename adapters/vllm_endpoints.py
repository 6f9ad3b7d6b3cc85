"""The routes under `/graft` that the engine's plugin adds to vLLM's API server, by the entry point `graft` of its group
`vllm.endpoint_plugins`. vLLM loads it only when `VLLM_PLUGINS` names it.

| route | does |
|---|---|
| `GET /graft/versions` | what names, memory and slots really hold |
| `PUT /graft/versions/{id}` `{artifact_digest}` | fetch from the store, verify, load |
| `DELETE /graft/versions/{id}` | out of names, memory and slots |
| `PUT`, `DELETE /graft/versions/{id}/pin` | keep in memory; let go |

Every route wants the engine's token as a bearer token; without one configured there are no routes.
"""

import hmac
import logging
from collections.abc import Mapping
from dataclasses import asdict
from importlib import import_module
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from adapters.errors import (
    AdaptersError,
    ArtifactCorrupt,
    ArtifactMissing,
    CacheFull,
    StoreUnavailable,
    UnknownVersion,
)
from adapters.settings import Settings
from adapters.vllm_plugin import RESOLVER
from adapters.vllm_residents import NotLoaded, OtherFiles, Residents, TooManyPinned, keep_readable

log = logging.getLogger(__name__)

STATUS: Mapping[type[Exception], int] = {
    ArtifactCorrupt: 422,
    UnknownVersion: 422,
    ArtifactMissing: 424,
    StoreUnavailable: 503,
    CacheFull: 507,
    NotLoaded: 409,
    OtherFiles: 409,
    TooManyPinned: 409,
}
"""Never 404: that is how a vLLM without this plugin answers."""


class Load(BaseModel):
    model_config = ConfigDict(extra="forbid")
    artifact_digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")


class EnginePlugin:
    """vLLM's port for endpoint plugins: made once, given routes, then the engine's client."""

    name = "graft"
    required_tasks = ("generate",)

    def __init__(self) -> None:
        self._token = Settings().engine_key
        self._residents: Residents | None = None
        self._fetches = False

    def attach_router(self, app: FastAPI) -> None:
        """vLLM's phase A."""
        if not self._token:
            log.warning("GRAFT_ENGINE_TOKEN is not set: no routes under /graft")
            return
        router = APIRouter(prefix="/graft/versions", dependencies=[Depends(self._authenticate)])
        router.add_api_route("", self._list, methods=["GET"])
        router.add_api_route("/{version_id}", self._load, methods=["PUT"], response_model=None)
        router.add_api_route("/{version_id}", self._remove, methods=["DELETE"])
        router.add_api_route("/{version_id}/pin", self._pin, methods=["PUT"], response_model=None)
        router.add_api_route("/{version_id}/pin", self._unpin, methods=["DELETE"], response_model=None)
        app.include_router(router)

    async def init_state(self, engine_client: Any, state: Any, args: Any) -> None:
        """vLLM's phase B."""
        registry = import_module("vllm.lora.resolver").LoRAResolverRegistry
        resolver = registry.get_resolver(RESOLVER)
        self._fetches = resolver.fetches
        keep_readable(state.openai_serving_models, resolver.cache)
        self._residents = Residents(state.openai_serving_models, engine_client, resolver.cache)

    def _authenticate(self, authorization: Annotated[str, Header()] = "") -> None:
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(
            given.strip().encode(), self._token.encode()
        ):
            raise HTTPException(401, "The engine's token is needed as a bearer token.")

    @property
    def _all(self) -> Residents:
        if self._residents is None:
            raise HTTPException(503, "The engine is still starting.")
        return self._residents

    async def _list(self) -> dict[str, Any]:
        found = await self._all.all()
        data = [
            {"id": each.name, **{k: v for k, v in asdict(each).items() if k != "name"}}
            for each in found.versions
        ]
        return {"object": "list", "data": data, "slots": found.slots, "memory": found.memory}

    async def _load(self, version_id: str, body: Load) -> Any:
        if not self._fetches:
            return _refusal(501, "The engine knows no store: set GRAFT_ARTIFACTS_URL or GRAFT_CONTROL_URL.")
        protocol = import_module("vllm.entrypoints.serve.lora.protocol").LoadLoRAAdapterRequest
        try:
            refused = await self._all.load(version_id, body.artifact_digest, protocol)
        except OtherFiles as error:
            return _refusal(STATUS[OtherFiles], f"{version_id} cannot be loaded: {error}")
        except AdaptersError as error:
            return _refusal(STATUS[type(error)], str(error))
        if refused is not None:
            return _refusal(503 if refused.error.code == 404 else refused.error.code, refused.error.message)
        return {"id": version_id, "loaded": True}

    async def _remove(self, version_id: str) -> dict[str, Any]:
        return {"id": version_id, "removed": await self._all.remove(version_id)}

    async def _pin(self, version_id: str) -> Any:
        try:
            await self._all.pin(version_id)
        except (NotLoaded, TooManyPinned) as error:
            return _refusal(STATUS[type(error)], f"{version_id} cannot be pinned: {error}")
        return {"id": version_id, "pinned": True}

    async def _unpin(self, version_id: str) -> Any:
        try:
            await self._all.unpin(version_id)
        except NotLoaded:
            return _refusal(STATUS[NotLoaded], f"{version_id} is not loaded")
        return {"id": version_id, "pinned": False}


def _refusal(status: int, message: str) -> JSONResponse:
    kind = "invalid_request_error" if status < 500 else "server_error"
    error = {"message": message, "type": kind, "param": None, "code": None}
    return JSONResponse({"error": error}, status)
