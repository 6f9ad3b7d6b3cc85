"""The nouns of the adapters package."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

DEFAULT_ADAPTER = "default"
BASE_NAME = "base"


class VersionStatus(StrEnum):
    """Where a version stands; `adapters.registry` holds the legal transitions."""

    REGISTERED = "registered"
    GATING = "gating"
    APPROVED = "approved"
    CANARY = "canary"
    STABLE = "stable"
    RETIRED = "retired"
    REJECTED = "rejected"
    ROLLED_BACK = "rolled_back"
    PRUNED = "pruned"
    """Its weights are gone; where they came from stays in the record."""


class Alias(StrEnum):
    STABLE = "stable"
    CANDIDATE = "candidate"


@dataclass(frozen=True)
class Adapter:
    """A tenant's named line of versions, bound to one base model."""

    tenant_id: str
    name: str
    base_digest: str
    created_at: datetime


@dataclass(frozen=True)
class Lineage:
    """Where a version came from: everything needed to explain or repeat it."""

    base_digest: str
    recipe: Mapping[str, Any] = field(default_factory=dict)
    dataset_digest: str | None = None
    parent_id: str | None = None
    run_id: str | None = None
    source: str | None = None
    """Where an imported version came from: `upload`, or a URI. None for one that was trained here."""
    actor: str | None = None
    """Who imported it."""


@dataclass(frozen=True)
class Version:
    """An immutable member of an adapter. Its id is its name inside the engine, unique and never reused."""

    id: str
    tenant_id: str
    adapter: str
    number: int
    artifact_digest: str
    lineage: Lineage
    metrics: Mapping[str, Any]
    status: VersionStatus
    created_at: datetime

    @property
    def label(self) -> str:
        """The name a tenant uses, such as `support@v7`."""
        return f"{self.adapter}@v{self.number}"


@dataclass(frozen=True)
class AliasMove:
    """One row of the append-only alias history; `version_id` None means the base model alone."""

    tenant_id: str
    adapter: str
    alias: Alias
    version_id: str | None
    previous_id: str | None
    actor: str
    at: datetime
    change: int
    """Position in the change log; a worker that has applied this position serves the new route."""


@dataclass(frozen=True)
class AdapterRoutes:
    """Everything a gateway worker needs to route one adapter."""

    tenant_id: str
    name: str
    aliases: Mapping[Alias, str | None]
    versions: Mapping[int, str]
    """Version number to version id, servable versions only (not rejected, not pruned)."""
    numbers: Mapping[str, int]
    """Version id to number."""


@dataclass(frozen=True)
class Artifact:
    """A version's files in the store, addressed by the SHA-256 over their names and contents."""

    digest: str
    size_bytes: int
    files: Mapping[str, int]
    """File name to size in bytes."""
