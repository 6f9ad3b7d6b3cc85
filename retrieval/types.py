"""The nouns of the retrieval package. They carry no dependency, so that clients can import them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

SAME_WORDING = 1.0


@dataclass(frozen=True)
class Passage:
    """A retrieved piece of a tenant's own documents."""

    id: str
    file_id: str
    title: str
    text: str
    score: float


@dataclass(frozen=True)
class MemoryHit:
    """A correction that answers the question being asked. `id` is the correction's id."""

    id: str
    question: str
    answer: str
    score: float
    """How surely both ask the same; SAME_WORDING for the very question that was corrected."""


@dataclass(frozen=True)
class Found:
    """What one search returned, best first."""

    passages: Sequence[Passage] = ()
    memory: Sequence[MemoryHit] = ()

    def needed(self, learned: Collection[str]) -> list[MemoryHit]:
        """The memory that a version with these learned corrections still needs: what it was proven on is a wording,
        so for another wording of a learned correction the approved answer stays in the prompt."""
        return [hit for hit in self.memory if hit.id not in learned or hit.score < SAME_WORDING]


class Embedded(NamedTuple):
    """Unit-length vectors of some texts, in their order, and how many tokens the encoder read of all of them."""

    vectors: Sequence[Sequence[float]]
    tokens: int


@dataclass(frozen=True)
class MemoryEntry:
    """A correction as memory holds it."""

    id: str
    tenant_id: str
    question: str
    answer: str


@dataclass(frozen=True)
class Forwarded:
    """The service's answer to a request passed on for a tenant, to be returned as it is."""

    status: int
    body: bytes
    content_type: str


@dataclass(frozen=True)
class File:
    """An uploaded file without its content. created_at: aware, UTC."""

    id: str
    tenant_id: str
    filename: str
    purpose: str
    bytes: int
    created_at: datetime


@dataclass(frozen=True)
class VectorStore:
    """A named set of files that are searched together; each tenant has one default set."""

    id: str
    tenant_id: str
    name: str
    is_default: bool
    metadata: Mapping[str, Any]
    created_at: datetime


@dataclass(frozen=True)
class Attachment:
    """A file as a member of a vector store. status: `completed` or `failed`; error says why it failed."""

    vector_store_id: str
    file_id: str
    tenant_id: str
    status: str
    error: str | None
    attributes: Mapping[str, Any]
    usage_bytes: int
    created_at: datetime


@dataclass(frozen=True)
class Page:
    """What part of a listing is wanted. after, before: ids that bound it, exclusive."""

    limit: int = 20
    ascending: bool = False
    after: str | None = None
    before: str | None = None
