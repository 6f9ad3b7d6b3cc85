"""The nouns of the training package. No torch here: the gateway imports this module."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

Message = Mapping[str, Any]
Tool = Mapping[str, Any]
"""A function that a request offers, as chat templates take it (`training.corrections.functions_of`)."""

LEARNER_KEY = "graft:learner"
"""In Redis while a learner with a warm base model is alive."""
LEARNER_OF = "graft:learner:{digest}"
"""The same of one base model."""
MERGE = "merge"
"""Key of a run's recipe that makes it a merge of versions instead of a training."""


@dataclass(frozen=True)
class Prompt:
    """What is asked: a conversation, and the functions that the request offers."""

    messages: Sequence[Message]
    tools: Sequence[Tool] = ()


class Logging(StrEnum):
    """What the journal keeps of a tenant's interactions."""

    FULL = "full"
    METADATA = "metadata"
    OFF = "off"


class CorrectionStatus(StrEnum):
    ACCEPTED = "accepted"
    QUARANTINED = "quarantined"
    SUPERSEDED = "superseded"
    WITHDRAWN = "withdrawn"
    REJECTED = "rejected"
    """A person turned it down."""


class RunStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    AWAITING_APPROVAL = "awaiting_approval"
    SUCCEEDED = "succeeded"
    REJECTED = "rejected"
    FAILED = "failed"
    CANCELLED = "cancelled"


class RunPhase(StrEnum):
    """The steps of a run, in order."""

    DATASET = "dataset"
    TRAINING = "training"
    ARTIFACT = "artifact"
    REGISTER = "register"
    LOAD = "load"
    GATE = "gate"
    DONE = "done"


class Verdict(StrEnum):
    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


SHADOW = "shadow"
"""The arm of an answer that nobody got."""


@dataclass(frozen=True)
class Interaction:
    """One answered request. `messages` and `response` are empty unless the tenant logs in full."""

    id: str
    tenant_id: str
    adapter: str
    version_id: str | None
    """None when the base model answered alone."""
    arm: str
    messages: Sequence[Message]
    response: str
    memory_ids: Sequence[str]
    passage_ids: Sequence[str]
    session_id: str | None
    usage: Mapping[str, int]
    latency_ms: float
    status: int
    at: datetime
    detail: Mapping[str, Any] | None = None
    """`scores` (passage or correction id to its score) and `timings_ms`, where they were recorded; `tools`, where the
    request offered functions and its text is kept; of a shadow's
    answer `of` (the id of what the user got) and `production` (what that was)."""
    flaw: str | None = None
    """What was wrong with the answer as far as the gateway can tell: `error`, `empty` or `refusal`."""
    rollout: str | None = None
    """The rollout and its step in which the answering version was drawn."""
    draw: float | None = None
    """What was drawn, from 0 to 1: the same for all requests of one session or user. Below the rollout's share, the
    candidate answers."""


@dataclass(frozen=True)
class Feedback:
    """What was said about a response: a rating, a correction, or both."""

    id: str
    tenant_id: str
    adapter: str
    response_id: str | None
    messages: Sequence[Message]
    """The conversation up to the response, ending with the user's question."""
    rejected: str | None
    """The response that was corrected."""
    correction: str | None
    """The right answer as text, as memory and training use it."""
    rating: int | None
    comment: str | None
    user: str | None
    metadata: Mapping[str, str]
    author: str
    """Id of the key that posted it."""
    version_id: str | None
    status: CorrectionStatus
    reasons: Sequence[str]
    created_at: datetime
    trusted: bool = True
    """Whether the author may replace what others said."""
    correction_message: Mapping[str, Any] | None = None
    """The correction as it was given, where that was a message and not text."""
    replaces: str | None = None
    """The correction that this one is an edit of."""
    tools: Sequence[Tool] | None = None
    """The functions that the request offered."""

    @property
    def question(self) -> str:
        """Text of the last user message: what memory is searched by."""
        return question_of(self.messages)


@dataclass(frozen=True)
class Run:
    """One attempt to turn corrections into a version."""

    id: str
    tenant_id: str
    adapter: str
    status: RunStatus
    phase: RunPhase
    trigger: str
    """Which trigger started it: `count`, `manual`, …"""
    recipe: Mapping[str, Any]
    dataset_digest: str | None
    version_id: str | None
    progress: Mapping[str, Any]
    """Step, total steps, loss, eta_seconds; empty before training."""
    report: Mapping[str, Any]
    """The gate's report: verdicts, every prompt, both answers. Empty before the gate."""
    costs: Mapping[str, float]
    """Seconds per phase and token counts."""
    error: str | None
    created_at: datetime
    updated_at: datetime
    attempts: int = 0
    """How often it was interrupted by a fault."""
    not_before: datetime | None = None
    """When it is tried again after the fault that `error` names."""


@dataclass(frozen=True)
class Outcome:
    """How an attempt at a run ended. `queued`: it goes on later, from where it was, `retry_s` seconds from now."""

    status: RunStatus
    error: str | None = None
    retry_s: float = 0.0
    approves: str | None = None
    """The version that goes live with the run's end."""


@dataclass(frozen=True)
class ScreeningPolicy:
    """What screening does with a correction that holds what should not be learned. `redact` takes it out and
    accepts the rest, `quarantine` waits for a person."""

    secrets: str = "quarantine"
    pii: str = "quarantine"
    """Also `allow`, for tenants whose knowledge is contacts."""
    max_characters: int = 8000
    """Longest correction taken without a person; longer ones do not fit the shipped model's context."""
    contributor_share: float = 0.20
    """Of the accepted corrections of untrusted authors, what one of them may hold, once there are
    `contributors`."""
    contributors: int = 5
    contributor_count: int = 200
    """What one untrusted author may hold at all: a few hundred poisoned examples suffice whatever the total."""


@dataclass(frozen=True)
class TriggerPolicy:
    """When a run starts. Part of the tenant's policy document."""

    count: int = 36
    """Accepted corrections since the last run."""
    cooldown_seconds: float = 60.0
    debounce_seconds: float = 1.0
    """A run waits until no correction arrived for this long."""


@dataclass(frozen=True)
class GatePolicy:
    """The bars a candidate must pass (docs: learning). Shares are between 0 and 1."""

    min_improvement: float = 0.01
    significance: float = 0.05
    max_regression: float = 0.03
    max_length_growth: float = 0.20


@dataclass(frozen=True)
class LearningPolicy:
    """The part of a tenant's policy that the learner follows."""

    triggers: TriggerPolicy = field(default_factory=TriggerPolicy)
    gate: GatePolicy = field(default_factory=GatePolicy)
    approval: str = "auto"
    """`auto`: a version that passes goes live; `manual`: every version waits for a person. Inconclusive
    always waits."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """Overrides of the recipe's defaults."""
    screening: ScreeningPolicy = field(default_factory=ScreeningPolicy)
    """For questions of the journal that are to be learned from."""


@dataclass(frozen=True)
class RunEvent:
    """One line of a run's story."""

    id: int
    run_id: str
    kind: str
    data: Mapping[str, Any] = field(default_factory=dict)
    at: datetime | None = None


def question_of(messages: Sequence[Message]) -> str:
    """Text of the last user message; content parts are joined by newlines, and no user message gives ''."""
    for message in reversed(messages):
        if message.get("role") == "user":
            content = message.get("content")
            if isinstance(content, list):
                texts = (part for part in content if part.get("type") in ("text", "input_text"))
                return "\n".join(str(part.get("text", "")) for part in texts)
            return str(content or "")
    return ""
