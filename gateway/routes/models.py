"""`/v1/models`: the base models that the tenant may use and its own adapters, never anybody else's."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request, Response

from adapters.types import BASE_NAME
from gateway.routes.access import Access, json_response
from gateway.routing import route
from gateway.snapshot import TenantView


def models_router(access: Access) -> APIRouter:
    router = APIRouter(prefix="/v1/models", tags=["models"])

    @router.get("")
    async def list_models(request: Request) -> Response:
        tenant = access.principal(request).tenant
        names = dict.fromkeys([BASE_NAME, *sorted(tenant.bases), *sorted(tenant.adapters)])
        return json_response(200, {"object": "list", "data": [_model(tenant, name) for name in names]})

    @router.get("/{name}")
    async def get_model(request: Request, name: str) -> Response:
        tenant = access.principal(request).tenant
        route(tenant, name)
        return json_response(200, _model(tenant, name))

    return router


def _model(tenant: TenantView, name: str) -> Mapping[str, Any]:
    """`version` is what answers under this name now."""
    chosen = route(tenant, name)
    base = name == chosen.base and name not in tenant.adapters
    return {
        "id": name,
        "object": "model",
        "created": int(tenant.created_at.timestamp()),
        "owned_by": "graft" if base else tenant.id,
        "parent": None if base else chosen.base or None,
        "version": chosen.label or None,
    }
