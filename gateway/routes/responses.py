"""`/v1/responses/{id}`: what the client asked to be kept. Making a response is `gateway.routes.generation`."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from gateway.errors import InvalidRequest, NotFound
from gateway.keys import Scope
from gateway.response_store import ResponseStore
from gateway.routes.access import Access, json_response, page


def responses_router(access: Access, store: ResponseStore) -> APIRouter:
    router = APIRouter(prefix="/v1/responses", tags=["responses"])

    @router.get("/{response_id}")
    async def get_response(request: Request, response_id: str, stream: bool = False) -> Response:
        tenant = access.principal(request, Scope.CHAT).tenant
        if stream:
            raise InvalidRequest("A stored response is not streamed again.", param="stream")
        return json_response(200, (await store.get(tenant.id, response_id)).document)

    @router.get("/{response_id}/input_items")
    async def list_input_items(
        request: Request,
        response_id: str,
        after: str | None = None,
        before: str | None = None,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        order: Annotated[str, Query(pattern="^(asc|desc)$")] = "desc",
    ) -> Response:
        tenant = access.principal(request, Scope.CHAT).tenant
        items = list((await store.get(tenant.id, response_id)).input_items)
        if order == "desc":
            items.reverse()
        ids = [item["id"] for item in items]
        for name, bound in (("after", after), ("before", before)):
            if bound is not None and bound not in ids:
                raise NotFound("There is no such item.", param=name)
        start = 0 if after is None else ids.index(after) + 1
        end = None if before is None else ids.index(before)
        return json_response(200, page(items[start:end], limit))

    @router.post("/{response_id}/cancel")
    async def cancel_response(request: Request, response_id: str) -> Response:
        """No response runs in the background: a client cancels by leaving."""
        tenant = access.principal(request, Scope.CHAT).tenant
        await store.get(tenant.id, response_id)
        raise InvalidRequest("Only a response with `background` can be cancelled.", param="response_id")

    @router.delete("/{response_id}")
    async def delete_response(request: Request, response_id: str) -> Response:
        tenant = access.principal(request, Scope.CHAT).tenant
        await store.delete(tenant.id, response_id)
        return json_response(200, {"id": response_id, "object": "response", "deleted": True})

    return router
