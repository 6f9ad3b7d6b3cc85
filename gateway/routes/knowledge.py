"""Files and vector stores: authenticated here, answered by the retrieval service, which knows only this
tenant."""

from fastapi import APIRouter, Request, Response

from gateway.errors import RetrievalFailed
from gateway.keys import Scope
from gateway.routes.access import Access, read_all
from retrieval.client import RetrievalClient
from retrieval.errors import RetrievalUnavailable

METHODS = ["GET", "POST", "DELETE"]
TIMEOUT_S = 300.0
"""A large document is chunked and encoded before the answer."""


def knowledge_router(access: Access, retrieval: RetrievalClient, resource: str, limit: int) -> APIRouter:
    """resource: `files` or `vector_stores`. limit: the largest body in bytes."""
    router = APIRouter(prefix=f"/v1/{resource}", tags=[resource])

    async def forward(request: Request, path: str = "") -> Response:
        principal = access.principal(request, Scope.KNOWLEDGE)
        body = await read_all(request, limit)
        try:
            answer = await retrieval.forward(
                principal.tenant.id,
                request.method,
                f"/{resource}/{path}" if path else f"/{resource}",
                body=body,
                content_type=request.headers.get("content-type", "application/json"),
                query=dict(request.query_params),
                timeout_s=TIMEOUT_S,
            )
        except RetrievalUnavailable as error:
            raise RetrievalFailed("Retrieval is not available.", retry_after_s=1.0) from error
        return Response(answer.body, answer.status, media_type=answer.content_type)

    router.add_api_route("", forward, methods=METHODS, include_in_schema=False)
    router.add_api_route("/{path:path}", forward, methods=METHODS, include_in_schema=False)
    return router
