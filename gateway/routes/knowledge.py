"""Files and vector stores: authenticated here, answered by the retrieval service, which knows only this
tenant."""

import asyncio
import hashlib
from email.message import Message
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
            said = await asyncio.to_thread(comparable, request.headers.get("content-type", ""), body)
            same = f"{resource}/{path}\n".encode() + said
            act = partial(answer, tenant, request, path, body)
            written = await writes.once(tenant.id, key, same, act)
        return Response(written.body, written.status, media_type=written.content_type)

    router.add_api_route("", forward, methods=METHODS, include_in_schema=False)
    router.add_api_route("/{path:path}", forward, methods=METHODS, include_in_schema=False)
    return router


def comparable(content_type: str, body: bytes) -> bytes:
    """What two attempts at one write have alike: of a form a digest, without the boundary, which each makes up anew."""
    told = Message()
    told["content-type"] = content_type
    boundary = told.get_boundary() if told.get_content_maintype() == "multipart" else None
    if not boundary:
        return body
    mark, view, digest, start = b"--" + boundary.encode(), memoryview(body), hashlib.sha256(), 0
    while (end := body.find(mark, start)) >= 0:
        digest.update(view[start:end])
        digest.update(b"--\n")
        start = end + len(mark)
    digest.update(view[start:])
    return digest.digest()
