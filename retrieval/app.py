"""The service's HTTP face. Thin: each route parses, calls one collaborator, and shapes the answer."""

import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, FastAPI, File, Form, Query, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.types import ASGIApp, Receive, Scope, Send

from retrieval import wire
from retrieval.documents import Documents
from retrieval.encoder import Encoder
from retrieval.entries import EntryStore
from retrieval.errors import InvalidRequest, RequestRefused, TooLarge
from retrieval.memory import Bar
from retrieval.recollection import Recollection, load_background
from retrieval.settings import Settings
from retrieval.store import DocumentStore
from retrieval.types import MemoryEntry, Page
from retrieval.wire import Json

DEFAULT_STORE = "default"
"""Stands for the tenant's default vector store wherever a vector store's id is expected."""
MAX_FILENAME = 512


@dataclass(frozen=True)
class Retrieval:
    """The collaborators of all routes."""

    encoder: Encoder
    documents: Documents
    memory: Recollection
    max_file_bytes: int


def build_app(settings: Settings, engine: AsyncEngine, encoder: Encoder) -> FastAPI:
    """The application; it starts and stops the encoder, and leaves the engine to its owner."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with encoder:
            app.state.retrieval = await compose(settings, engine, encoder)
            yield

    app = FastAPI(title="Graft retrieval", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Authenticated, token=settings.internal_token.get_secret_value())
    app.add_exception_handler(RequestRefused, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.include_router(_service_routes())
    app.include_router(_file_routes())
    app.include_router(_store_routes())
    app.include_router(_membership_routes())
    return app


class Authenticated:
    """Lets through who bears the token that our processes share; without a token configured, nobody."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode() if token else b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != "/healthz" and not self._knows(scope):
            body = wire.error_body("Wrong internal token.", code="invalid_api_key")
            await JSONResponse(body, 401)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _knows(self, scope: Scope) -> bool:
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        return bool(self._expected) and hmac.compare_digest(given, self._expected)


async def compose(settings: Settings, engine: AsyncEngine, encoder: Encoder) -> Retrieval:
    bar = Bar(
        settings.memory_lowest_bar,
        settings.memory_bar_rise,
        settings.memory_highest_bar,
        settings.memory_margin,
    )
    memory = Recollection(EntryStore(engine), encoder, await load_background(encoder), bar)
    documents = Documents(DocumentStore(engine), encoder, settings.passage_min_score)
    return Retrieval(encoder, documents, memory, settings.max_file_bytes)


def _retrieval(request: Request) -> Retrieval:
    retrieval: Retrieval = request.app.state.retrieval
    return retrieval


def _page(
    limit: Annotated[int, Query(ge=1, le=10_000)] = 20,
    order: Literal["asc", "desc"] = "desc",
    after: str | None = None,
    before: str | None = None,
) -> Page:
    return Page(limit, order == "asc", after, before)


async def _store_id(request: Request, tenant: str, store: str) -> str:
    if store != DEFAULT_STORE:
        return store
    return (await _retrieval(request).documents.store.default_store(tenant)).id


Use = Annotated[Retrieval, Depends(_retrieval)]
Paging = Annotated[Page, Depends(_page)]
StoreId = Annotated[str, Depends(_store_id)]


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestRefused)
    return JSONResponse(wire.refusal_body(error), error.status)


async def _invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    param = ".".join(str(part) for part in first["loc"][1:]) or None
    return JSONResponse(wire.error_body(f"{param}: {first['msg']}", param=param, code="invalid_request"), 400)


def _service_routes() -> APIRouter:
    router = APIRouter()

    @router.get("/healthz")
    async def healthz(use: Use) -> Json:
        return {"status": "ok", "encoder": use.encoder.digest, "dimension": use.encoder.dimension}

    @router.post("/embed")
    async def embed(body: wire.EmbedRequest, use: Use) -> Json:
        vectors, tokens = await use.encoder.read(body.texts, bulk=len(body.texts) > 1)
        return {"vectors": vectors.tolist(), "tokens": tokens, "encoder": use.encoder.digest}

    @router.post("/tenants/{tenant}/search")
    async def search(tenant: str, body: wire.SearchRequest, use: Use) -> Json:
        """One encoding serves both: the question as asked is memory's first view and the passages' query."""
        reading = use.memory.read(body.question)
        if body.memory and await use.memory.size(tenant):
            views = await use.memory.views(tenant, reading)
            hits = await use.memory.search(tenant, reading, views)
            vector = views[0]
        elif body.k and await use.documents.has_passages(tenant):
            hits, vector = [], (await use.encoder.encode([reading.text]))[0]
        else:
            return {"passages": [], "memory": []}
        passages = await use.documents.search_default(tenant, vector, body.k)
        return {"passages": [asdict(p) for p in passages], "memory": [asdict(h) for h in hits]}

    @router.put("/tenants/{tenant}/memory/{entry}")
    async def put_memory(tenant: str, entry: str, body: wire.MemoryRequest, use: Use) -> Json:
        await use.memory.put(MemoryEntry(entry, tenant, body.question, body.answer))
        return {"id": entry}

    @router.delete("/tenants/{tenant}/memory/{entry}")
    async def delete_memory(tenant: str, entry: str, use: Use) -> Json:
        return {"id": entry, "deleted": await use.memory.delete(tenant, entry)}

    @router.delete("/tenants/{tenant}")
    async def delete_tenant(tenant: str, use: Use) -> Json:
        await use.memory.delete_tenant(tenant)
        await use.documents.delete_tenant(tenant)
        return {"id": tenant, "deleted": True}

    return router


def _file_routes() -> APIRouter:
    router = APIRouter(prefix="/tenants/{tenant}/files")

    @router.post("")
    async def upload(
        tenant: str,
        use: Use,
        file: Annotated[UploadFile, File()],
        purpose: Annotated[str, Form(max_length=32)],
        vector_store_id: Annotated[str, Form()] = DEFAULT_STORE,
    ) -> Json:
        """vector_store_id: where a file for `assistants` becomes searchable at once; `none` for nowhere."""
        content = await file.read(use.max_file_bytes + 1)
        if len(content) > use.max_file_bytes:
            raise TooLarge(f"Files may have at most {use.max_file_bytes} bytes.", "file")
        if not file.filename or len(file.filename) > MAX_FILENAME:
            raise InvalidRequest(f"The file needs a name, of at most {MAX_FILENAME} characters.", "file")
        searchable = purpose == "assistants" and vector_store_id != "none"
        store = ""
        if searchable and vector_store_id == DEFAULT_STORE:
            store = (await use.documents.store.default_store(tenant)).id
        elif searchable:
            store = (await use.documents.store.vector_store(tenant, vector_store_id)).id
        stored = await use.documents.store.add_file(tenant, file.filename, purpose, content)
        if searchable:
            await use.documents.attach(tenant, store, stored.id, {})
        return wire.file_body(stored)

    @router.get("")
    async def files(tenant: str, use: Use, page: Paging, purpose: str | None = None) -> Json:
        found = await use.documents.store.files(tenant, page, purpose)
        return wire.list_body([wire.file_body(file) for file in found], page)

    @router.get("/{file}")
    async def one(tenant: str, file: str, use: Use) -> Json:
        return wire.file_body(await use.documents.store.file(tenant, file))

    @router.get("/{file}/content")
    async def content(tenant: str, file: str, use: Use) -> Response:
        return Response(
            await use.documents.store.content(tenant, file), media_type="application/octet-stream"
        )

    @router.delete("/{file}")
    async def delete(tenant: str, file: str, use: Use) -> Json:
        await use.documents.delete_file(tenant, file)
        return wire.deleted_body(file, "file")

    return router


def _store_routes() -> APIRouter:
    router = APIRouter(prefix="/tenants/{tenant}/vector_stores")

    async def shown(use: Retrieval, tenant: str, store: str) -> Json:
        record = await use.documents.store.vector_store(tenant, store)
        return wire.store_body(record, await use.documents.store.attachments(tenant, store))

    @router.post("")
    async def create(tenant: str, body: wire.StoreRequest, use: Use) -> Json:
        for file in body.file_ids:
            await use.documents.store.file(tenant, file)
        store = await use.documents.store.add_vector_store(tenant, body.name, body.metadata or {})
        for file in body.file_ids:
            await use.documents.attach(tenant, store.id, file, {})
        return await shown(use, tenant, store.id)

    @router.get("")
    async def stores(tenant: str, use: Use, page: Paging) -> Json:
        await use.documents.store.default_store(tenant)
        found = await use.documents.store.vector_stores(tenant, page)
        return wire.list_body([await shown(use, tenant, store.id) for store in found], page)

    @router.get("/{store}")
    async def one(tenant: str, store: StoreId, use: Use) -> Json:
        return await shown(use, tenant, store)

    @router.post("/{store}")
    async def update(tenant: str, store: StoreId, body: wire.StoreUpdate, use: Use) -> Json:
        given = body.model_dump(exclude_none=True)
        await use.documents.store.update_vector_store(tenant, store, given)
        return await shown(use, tenant, store)

    @router.delete("/{store}")
    async def delete(tenant: str, store: StoreId, use: Use) -> Json:
        await use.documents.delete_vector_store(tenant, store)
        return wire.deleted_body(store, "vector_store.deleted")

    @router.post("/{store}/search")
    async def search(tenant: str, store: StoreId, body: wire.StoreSearchRequest, use: Use) -> Json:
        await use.documents.store.vector_store(tenant, store)
        queries = [body.query] if isinstance(body.query, str) else body.query
        vector = (await use.encoder.encode([" ".join(queries)]))[0]
        passages = await use.documents.search(tenant, store, vector, body.max_num_results)
        names = {p.file_id: await use.documents.store.file(tenant, p.file_id) for p in passages}
        return wire.search_body(queries, passages, names)

    return router


def _membership_routes() -> APIRouter:
    router = APIRouter(prefix="/tenants/{tenant}/vector_stores/{store}/files")

    @router.post("")
    async def attach(tenant: str, store: StoreId, body: wire.AttachRequest, use: Use) -> Json:
        return wire.attachment_body(
            await use.documents.attach(tenant, store, body.file_id, body.attributes or {})
        )

    @router.get("")
    async def attachments(tenant: str, store: StoreId, use: Use, page: Paging) -> Json:
        await use.documents.store.vector_store(tenant, store)
        found = await use.documents.store.attachments(tenant, store, page)
        return wire.list_body([wire.attachment_body(attachment) for attachment in found], page)

    @router.get("/{file}")
    async def one(tenant: str, store: StoreId, file: str, use: Use) -> Json:
        return wire.attachment_body(await use.documents.store.attachment(tenant, store, file))

    @router.delete("/{file}")
    async def detach(tenant: str, store: StoreId, file: str, use: Use) -> Json:
        await use.documents.detach(tenant, store, file)
        return wire.deleted_body(file, "vector_store.file.deleted")

    return router
