"""The bodies that `/v1/feedback` takes and the objects that it answers with."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictInt

from adapters.types import DEFAULT_ADAPTER
from training.screening import SENTENCES
from training.types import CorrectionStatus, Feedback

MAX_TEXT = 100_000
DAY = 86_400
Correction = Annotated[str, Field(max_length=MAX_TEXT)] | dict[str, Any]
"""Text, or an assistant's message, whose size the body's limit bounds."""


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class FeedbackBody(Body):
    """Either `response_id` of a logged response, or the conversation itself."""

    response_id: str | None = Field(default=None, max_length=64)
    messages: list[dict[str, Any]] | None = Field(default=None, max_length=1000)
    tools: list[dict[str, Any]] | None = Field(default=None, max_length=128)
    """With `messages`: what the request offered beside them."""
    model: str = Field(default=DEFAULT_ADAPTER, max_length=128)
    """Which adapter learns from it, when no response says so."""
    rating: StrictInt | None = Field(default=None, ge=-1, le=1)
    correction: Correction | None = None
    comment: str | None = Field(default=None, max_length=MAX_TEXT)
    user: str | None = Field(default=None, max_length=256)
    metadata: dict[str, str] = Field(default_factory=dict, max_length=16)


class EditBody(Body):
    correction: Correction


class TokenBody(Body):
    """For one response, on behalf of one end user."""

    response_id: str = Field(max_length=64)
    user: str | None = Field(default=None, max_length=256)
    expires_in: int = Field(default=DAY, ge=60, le=30 * DAY)
    """Seconds."""


def wire(feedback: Feedback, memory: str | None = None) -> dict[str, Any]:
    """A feedback object as clients see it. `memory` is reported where it was just decided."""
    document = {
        "id": feedback.id,
        "object": "feedback",
        "created_at": int(feedback.created_at.timestamp()),
        "response_id": feedback.response_id,
        "model": feedback.adapter,
        "messages": feedback.messages,
        "rejected": feedback.rejected,
        "correction": feedback.correction_message or feedback.correction,
        "rating": feedback.rating,
        "comment": feedback.comment,
        "user": feedback.user,
        "metadata": feedback.metadata,
        "status": feedback.status.value,
        "reasons": list(feedback.reasons),
        "explanations": [SENTENCES.get(reason, reason) for reason in feedback.reasons],
        "replaces": feedback.replaces,
    }
    offered = {"tools": feedback.tools} if feedback.tools else {}
    return document | offered | ({"memory": memory} if memory else {})


def receipt(feedback: Feedback, memory: str | None, response_id: str, user: str | None) -> dict[str, Any]:
    """What a token's holder, who spoke as this user of this response, is told of what it said. Where somebody else had
    said the same before, the entry is not the holder's: no id, and no reasons, which are of the other's words."""
    own = (feedback.response_id, feedback.user) == (response_id, user)
    reasons = feedback.reasons if own else ()
    document = {
        "id": feedback.id if own else None,
        "object": "feedback",
        "response_id": response_id,
        "status": feedback.status.value,
        "reasons": list(reasons),
        "explanations": [SENTENCES.get(reason, reason) for reason in reasons],
    }
    return document | ({"memory": memory} if memory else {})


def memory_state(feedback: Feedback, remembered: bool, done: bool) -> str | None:
    """`active`: the next request is answered with it. `not_used`: its question leans on what was said before, so it
    is learned from only. None: there is nothing to remember."""
    if feedback.correction is None:
        return None
    if feedback.status is not CorrectionStatus.ACCEPTED:
        return feedback.status.value
    if not remembered:
        return "not_used"
    return "active" if done else "pending"
