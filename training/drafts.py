"""Feedback before it is stored: as it arrives, whether it makes sense, what becomes of it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from training.corrections import check_form, text_of
from training.errors import FeedbackConflict, InvalidFeedback
from training.outbox import OutboxStep
from training.rows import new_id, now
from training.screening import Screening, own_reasons, redacted
from training.types import Feedback, Message, ScreeningPolicy, Tool, question_of


@dataclass(frozen=True)
class FeedbackDraft:
    """Feedback as it arrives, its interaction already found or its messages given."""

    tenant_id: str
    adapter: str
    messages: Sequence[Message]
    """The client's own conversation, ending with the user's question; nothing that we composed into it."""
    author: str
    trusted: bool
    """Whether the author's key may replace what others said (scope `correct`)."""
    response_id: str | None = None
    rejected: str | None = None
    correction: str | Mapping[str, Any] | None = None
    """Text, or an assistant's message."""
    rating: int | None = None
    comment: str | None = None
    user: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    version_id: str | None = None
    idempotency_key: str | None = None
    request_digest: str | None = None
    """Of the request that the key came with: the same key with another digest is refused."""
    rules: ScreeningPolicy = field(default_factory=ScreeningPolicy)
    tools: Sequence[Tool] = ()
    """The functions that the request offered."""

    @property
    def contributor(self) -> str:
        """Who said it: the end user where one is named, else the key."""
        return self.user or self.author


@dataclass(frozen=True)
class Recorded:
    """What a write did. `created` is False for a repeat, whose feedback is the first one's."""

    feedback: Feedback
    created: bool
    steps: Sequence[OutboxStep] = ()
    trained_versions: Sequence[str] = ()
    """Of a correction that was withdrawn: labels of the versions that were trained on it."""


@dataclass(frozen=True)
class LookedAt:
    """A draft without what the policy takes out, and what is to say of its text alone."""

    draft: FeedbackDraft
    taken_out: Sequence[str] = ()
    reasons: Sequence[str] = ()


def looked_at(draft: FeedbackDraft) -> LookedAt:
    """Takes a second for the longest texts. Only what a person corrected is redacted: the rest is neither learned nor
    shown."""
    if draft.correction is None:
        return LookedAt(draft)
    (messages, correction), taken_out = redacted([draft.messages, draft.correction], draft.rules)
    draft = replace(draft, messages=messages, correction=correction)
    return LookedAt(draft, taken_out, own_reasons(messages, draft.rejected, text_of(correction), draft.rules))


def validate(draft: FeedbackDraft, tool_parser: str) -> None:
    """tool_parser: how the engine reads calls of tools. Raises InvalidFeedback."""
    if draft.correction is None and draft.rating is None and draft.comment is None:
        raise InvalidFeedback("Say something: a correction, a rating or a comment.", "correction")
    if draft.rating is not None and draft.rating not in (-1, 0, 1):
        raise InvalidFeedback("A rating is -1, 0 or 1.", "rating")
    if draft.correction is None:
        return
    if not text_of(draft.correction).strip():
        raise InvalidFeedback("A correction cannot be empty.", "correction")
    check_form(draft.correction, tool_parser)
    if not question_of(draft.messages).strip():
        raise InvalidFeedback("A correction needs a conversation with a user's question.", "messages")


def edited(old: Feedback, correction: Any, author: str, rules: ScreeningPolicy) -> FeedbackDraft:
    """The old entry with another text. Raises FeedbackConflict when it has no text to edit."""
    if old.correction is None:
        raise FeedbackConflict(f"Feedback {old.id!r} has no correction to edit.")
    return FeedbackDraft(
        tenant_id=old.tenant_id,
        adapter=old.adapter,
        messages=old.messages,
        author=author,
        trusted=True,
        response_id=old.response_id,
        rejected=old.rejected,
        correction=correction,
        rating=old.rating,
        comment=old.comment,
        user=old.user,
        metadata=old.metadata,
        version_id=old.version_id,
        rules=rules,
        tools=old.tools or (),
    )


def entry_of(draft: FeedbackDraft, decision: Screening, replaces: str | None = None) -> Feedback:
    """The entry that a draft becomes."""
    given = draft.correction
    return Feedback(
        id=new_id("fb"),
        tenant_id=draft.tenant_id,
        adapter=draft.adapter,
        response_id=draft.response_id,
        messages=list(draft.messages),
        rejected=draft.rejected,
        correction=None if given is None else text_of(given),
        rating=draft.rating,
        comment=draft.comment,
        user=draft.user,
        metadata=dict(draft.metadata),
        author=draft.author,
        version_id=draft.version_id,
        status=decision.status,
        reasons=list(decision.reasons),
        created_at=now(),
        trusted=draft.trusted,
        correction_message=dict(given) if isinstance(given, Mapping) else None,
        replaces=replaces,
        tools=list(draft.tools) or None,
    )
