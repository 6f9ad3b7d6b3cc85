"""Files and vector stores: authenticated here, answered by the retrieval service, which knows only this
tenant."""

from functools import partial

from fastapi import APIRouter, Request, Response

from gateway.errors import RetrievalFailed
from gateway.idempotency import Writes, Written, checked_key
from gateway.keys import Scope
from gateway.routes.access import Access, read_all
from gateway.snapshot import TenantView
from retrieval.client import RetrievalClient
from retrieval.errors import RetrievalUnavailable

METHODS = ["GET", "POST", "DELETE"]
TIMEOUT_S = 300.0
"""A large document is chunked and encoded before the answer."""


def knowledge_router(
    access: Access, retrieval: RetrievalClient, writes: Writes, resource: str, limit: int
) -> APIRouter:
    """resource: `files` or `vector_stores`. limit: the largest body in bytes."""
    router = APIRouter(prefix=f"/v1/{resource}", tags=[resource])

    async def answer(tenant: TenantView, request: Request, path: str, body: bytes) -> Written:
        try:
            found = await retrieval.forward(
                tenant.id,
                request.method,
                f"/{resource}/{path}" if path else f"/{resource}",
                body=body,
                content_type=request.headers.get("content-type", "application/json"),
                query=dict(request.query_params),
                timeout_s=TIMEOUT_S,
            )
        except RetrievalUnavailable as error:
            raise RetrievalFailed("Retrieval is not available.", retry_after_s=1.0) from error
        return Written(found.status, found.content_type, found.body)

    async def forward(request: Request, path: str = "") -> Response:
        tenant = access.principal(request, Scope.KNOWLEDGE).tenant
        key = checked_key(request.headers.get("idempotency-key")) if request.method == "POST" else None
        body = await read_all(request, limit)
        if key is None:
            written = await answer(tenant, request, path, body)
        else:
            same = f"{resource}/{path}\n".encode() + _comparable(request, body)
            act = partial(answer, tenant, request, path, body)
            written = await writes.once(tenant.id, key, same, act)
        return Response(written.body, written.status, media_type=written.content_type)

    router.add_api_route("", forward, methods=METHODS, include_in_schema=False)
    router.add_api_route("/{path:path}", forward, methods=METHODS, include_in_schema=False)
    return router


def _comparable(request: Request, body: bytes) -> bytes:
    """Forms are separated by what each attempt makes up anew."""
    return b"" if request.headers.get("content-type", "").startswith("multipart/") else body
