"""`/v1/files`: a tenant's documents."""

from fastapi import APIRouter

from gateway.idempotency import Writes
from gateway.routes.access import Access
from gateway.routes.knowledge import knowledge_router
from retrieval.client import RetrievalClient

MAX_FILE_BYTES = 64 * 1024 * 1024


def files_router(access: Access, retrieval: RetrievalClient, writes: Writes) -> APIRouter:
    return knowledge_router(access, retrieval, writes, "files", MAX_FILE_BYTES)
