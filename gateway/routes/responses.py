"""`/v1/responses/{id}`: what the client asked to be kept. Making a response is `gateway.routes.generation`."""

from fastapi import APIRouter, Request, Response

from gateway.errors import InvalidRequest
from gateway.keys import Scope
from gateway.response_store import ResponseStore
from gateway.routes.access import Access, json_response


def responses_router(access: Access, store: ResponseStore) -> APIRouter:
    router = APIRouter(prefix="/v1/responses", tags=["responses"])

    @router.get("/{response_id}")
    async def get_response(request: Request, response_id: str, stream: bool = False) -> Response:
        tenant = access.principal(request, Scope.CHAT).tenant
        if stream:
            raise InvalidRequest("A stored response is not streamed again.", param="stream")
        return json_response(200, (await store.get(tenant.id, response_id)).document)

    @router.delete("/{response_id}")
    async def delete_response(request: Request, response_id: str) -> Response:
        tenant = access.principal(request, Scope.CHAT).tenant
        await store.delete(tenant.id, response_id)
        return json_response(200, {"id": response_id, "object": "response", "deleted": True})

    return router
