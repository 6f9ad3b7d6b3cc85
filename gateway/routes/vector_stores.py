"""`/v1/vector_stores`: which of a tenant's documents are searched, and searching them."""

from fastapi import APIRouter

from gateway.idempotency import Writes
from gateway.routes.access import Access
from gateway.routes.knowledge import knowledge_router
from retrieval.client import RetrievalClient

MAX_BODY_BYTES = 1024 * 1024


def vector_stores_router(access: Access, retrieval: RetrievalClient, writes: Writes) -> APIRouter:
    return knowledge_router(access, retrieval, writes, "vector_stores", MAX_BODY_BYTES)
