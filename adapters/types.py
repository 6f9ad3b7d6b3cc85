"""The nouns of the adapters package."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from adapters.rollout import Plan

DEFAULT_ADAPTER = "default"
BASE_NAME = "base"
"""The first base model's name, and every base model's inside its engines."""


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


CLAIMED = "claimed"
"""Of an imported version's metrics: what its file says of where it came from. Nobody here has seen any of it."""


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
    pruned_at: datetime | None = None
    """When retention deleted its files; the row, which is lineage, stays."""

    @property
    def label(self) -> str:
        """The name a tenant uses, such as `support@v7`."""
        return f"{self.adapter}@v{self.number}"


@dataclass(frozen=True)
class Check:
    """What a version must say before it takes over: the answer to `question` has the text `contains` in it, whatever
    its case and spacing."""

    question: str
    contains: str

    def passed(self, answer: str) -> bool:
        return " ".join(self.contains.split()).casefold() in " ".join(answer.split()).casefold()


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
    id: int = 0
    """Of its row; 0 for a move that was only just made."""


class RolloutKind(StrEnum):
    CANARY = "canary"
    """Traffic moves to the candidate step by step, by decisions."""
    AB = "ab"
    """Two versions share the traffic until a person has seen enough."""
    SHADOW = "shadow"
    """The candidate answers a part of the prompts unseen."""


class RolloutStatus(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    WATCHING = "watching"
    """The candidate has all of the traffic and may still go back."""
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    ABORTED = "aborted"
    """By a person."""
    FINISHED = "finished"
    """An A/B test or a shadow that ended."""
    OVERRIDDEN = "overridden"
    """A person moved the alias meanwhile."""


@dataclass(frozen=True)
class Rollout:
    """A candidate on its way, beside what it is compared with."""

    id: str
    tenant_id: str
    adapter: str
    kind: RolloutKind
    version_id: str
    """The candidate."""
    against_id: str | None
    """What it is compared with; None is the base model."""
    status: RolloutStatus
    plan: Plan
    step: int
    """Index in the plan's steps."""
    shares: Sequence[float]
    """Percent of the traffic in every step so far, the present one last."""
    budget_tokens: int | None
    """What a shadow may cost, prompts and answers together."""
    slow_ms: float | None
    """Latency from which an answer counts as slow; None: too little was known at the start."""
    bounds: Mapping[str, float]
    """By signal, the rate that a watch holds the candidate to."""
    actor: str
    reason: str
    revision: int
    """Grows with every write."""
    created_at: datetime
    step_started_at: datetime
    ended_at: datetime | None

    @property
    def open(self) -> bool:
        return self.ended_at is None

    def reference(self, step: int | None = None) -> str:
        """What requests of a step are marked with. step: counted from 0 over `shares`; None is the present one."""
        return f"{self.id}/{len(self.shares) - 1 if step is None else step}"


@dataclass(frozen=True)
class Split:
    """An open rollout as a gateway worker sees it."""

    rollout_id: str
    reference: str
    """`Rollout.reference` of the present step."""
    kind: RolloutKind
    version_id: str
    against_id: str | None
    share: float
    """Of the units, between 0 and 1."""
    budget_tokens: int | None = None


@dataclass(frozen=True)
class AdapterRoutes:
    """Everything a gateway worker needs to route one adapter."""

    tenant_id: str
    name: str
    aliases: Mapping[Alias, str | None]
    versions: Mapping[int, str]
    """Version number to version id, servable versions only (not rejected)."""
    numbers: Mapping[str, int]
    """Version id to number."""
    split: Split | None = None
    """How its traffic is shared, or shadowed, now."""
    base: str = BASE_NAME
    """Name of its base model; empty while no engine holds that."""


@dataclass(frozen=True)
class Artifact:
    """A version's files in the store, addressed by the SHA-256 over their names and contents."""

    digest: str
    size_bytes: int
    files: Mapping[str, int]
    """File name to size in bytes."""
