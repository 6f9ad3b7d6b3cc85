"""`GET /v1/responses/{id}/explain`: why this answer. The tenant's own responses only."""

from fastapi import APIRouter, Request, Response

from gateway.explainer import Explainer
from gateway.keys import Scope
from gateway.routes.access import Access, json_response


def explain_router(access: Access, explainer: Explainer) -> APIRouter:
    router = APIRouter(prefix="/v1/responses", tags=["responses"])

    @router.get("/{response_id}/explain")
    async def explain(request: Request, response_id: str) -> Response:
        tenant = access.principal(request, Scope.CHAT).tenant
        return json_response(200, await explainer.explain(tenant.id, response_id))

    return router
