"""The nouns of the retrieval package. They carry no dependency, so that clients can import them."""

from collections.abc import Sequence
from dataclasses import dataclass


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


@dataclass(frozen=True)
class Found:
    """What one search returned, best first."""

    passages: Sequence[Passage] = ()
    memory: Sequence[MemoryHit] = ()


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
