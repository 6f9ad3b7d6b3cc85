"""OpenAI's shapes for files and vector stores, and what this service's own requests carry."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from retrieval.chunking import MAX_CHARACTERS
from retrieval.errors import RequestRefused
from retrieval.types import Attachment, File, Page, Passage, VectorStore

Json = dict[str, Any]

CHARACTERS_PER_TOKEN = 4


class Request(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class SearchRequest(Request):
    question: str
    k: Annotated[int, Field(ge=0, le=50)] = 4
    memory: bool = True


class MemoryRequest(Request):
    question: Annotated[str, Field(min_length=1)]
    answer: Annotated[str, Field(min_length=1)]


class EmbedRequest(Request):
    texts: Annotated[list[str], Field(max_length=2048)]


class StoreRequest(Request):
    name: Annotated[str, Field(max_length=512)] = ""
    file_ids: Annotated[list[str], Field(max_length=500)] = []
    metadata: dict[str, Any] | None = None


class StoreUpdate(Request):
    name: Annotated[str, Field(max_length=512)] | None = None
    metadata: dict[str, Any] | None = None


class AttachRequest(Request):
    file_id: str
    attributes: dict[str, Any] | None = None


class StoreSearchRequest(Request):
    query: str | list[str]
    max_num_results: Annotated[int, Field(ge=1, le=50)] = 10


def error_body(
    message: str, *, param: str | None = None, code: str | None = None, kind: str | None = None
) -> Json:
    kind = kind or "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def refusal_body(error: RequestRefused) -> Json:
    return error_body(str(error), param=error.param, code=error.code)


def file_body(file: File) -> Json:
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": int(file.created_at.timestamp()),
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
    }


def store_body(store: VectorStore, attachments: Sequence[Attachment]) -> Json:
    completed = sum(attachment.status == "completed" for attachment in attachments)
    total = len(attachments)
    latest = max([store.created_at, *(attachment.created_at for attachment in attachments)])
    return {
        "id": store.id,
        "object": "vector_store",
        "created_at": int(store.created_at.timestamp()),
        "name": store.name,
        "usage_bytes": sum(attachment.usage_bytes for attachment in attachments),
        "file_counts": {
            "in_progress": 0,
            "completed": completed,
            "failed": total - completed,
            "cancelled": 0,
            "total": total,
        },
        "status": "completed",
        "expires_after": None,
        "expires_at": None,
        "last_active_at": int(latest.timestamp()),
        "metadata": store.metadata,
    }


def attachment_body(attachment: Attachment) -> Json:
    failed = attachment.error and {"code": "unsupported_file", "message": attachment.error}
    tokens = MAX_CHARACTERS // CHARACTERS_PER_TOKEN
    return {
        "id": attachment.file_id,
        "object": "vector_store.file",
        "usage_bytes": attachment.usage_bytes,
        "created_at": int(attachment.created_at.timestamp()),
        "vector_store_id": attachment.vector_store_id,
        "status": attachment.status,
        "last_error": failed or None,
        "chunking_strategy": {
            "type": "static",
            "static": {"max_chunk_size_tokens": tokens, "chunk_overlap_tokens": 0},
        },
        "attributes": attachment.attributes,
    }


def search_body(query: list[str], passages: Sequence[Passage], names: Mapping[str, File]) -> Json:
    return {
        "object": "vector_store.search_results.page",
        "search_query": query,
        "data": [
            {
                "file_id": passage.file_id,
                "filename": names[passage.file_id].filename if passage.file_id in names else "",
                "score": max(0.0, passage.score),
                "attributes": {},
                "content": [{"type": "text", "text": passage.text}],
            }
            for passage in passages
        ],
        "has_more": False,
        "next_page": None,
    }


def list_body(items: Sequence[Json], page: Page) -> Json:
    """items: one more than the page's limit where the listing goes on."""
    shown = list(items[: page.limit])
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": len(items) > page.limit,
    }


def deleted_body(identifier: str, kind: str) -> Json:
    return {"id": identifier, "object": kind, "deleted": True}
