"""`/v1/feedback`: what a tenant says about responses. A correction is in memory before the answer says so."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StrictInt
from sqlalchemy.exc import SQLAlchemyError

from adapters.types import DEFAULT_ADAPTER
from gateway.errors import InvalidRequest, NotFound, ResponseNotLogged, Unavailable
from gateway.keys import Scope
from gateway.principal import Principal
from gateway.routes.access import Access, json_response
from gateway.routing import route
from gateway.telemetry import Telemetry
from retrieval.client import RetrievalClient
from retrieval.errors import RetrievalError
from retrieval.types import MemoryEntry
from training.errors import FeedbackNotFound, InteractionNotFound, InvalidFeedback
from training.feedback import MEMORY_PUT, FeedbackDraft, FeedbackStore, OutboxStep, Recorded
from training.journal import Interactions
from training.types import CorrectionStatus, Feedback, Interaction, Logging

log = logging.getLogger(__name__)

MAX_TEXT = 100_000


class FeedbackBody(BaseModel):
    """Either `response_id` of a logged response, or the conversation itself."""

    model_config = ConfigDict(extra="forbid")

    response_id: str | None = Field(default=None, max_length=64)
    messages: list[dict[str, Any]] | None = Field(default=None, max_length=1000)
    model: str = Field(default=DEFAULT_ADAPTER, max_length=128)
    """Which adapter learns from it, when no response says so."""
    rating: StrictInt | None = Field(default=None, ge=-1, le=1)
    correction: str | None = Field(default=None, max_length=MAX_TEXT)
    comment: str | None = Field(default=None, max_length=MAX_TEXT)
    user: str | None = Field(default=None, max_length=256)
    metadata: dict[str, str] = Field(default_factory=dict, max_length=16)


@dataclass(frozen=True)
class FeedbackParts:
    access: Access
    store: FeedbackStore
    interactions: Interactions
    retrieval: RetrievalClient
    telemetry: Telemetry


class FeedbackDesk:
    """Takes feedback in and carries out at once what follows from it in memory."""

    def __init__(self, parts: FeedbackParts) -> None:
        self._parts = parts

    async def post(self, principal: Principal, body: FeedbackBody, idempotency_key: str | None) -> Response:
        draft = await self._draft(principal, body, idempotency_key)
        try:
            recorded = await self._parts.store.record(draft)
        except InvalidFeedback as error:
            raise InvalidRequest(str(error), param=error.param) from error
        memory = memory_state(recorded.feedback, await self._carry_out(recorded))
        self._parts.telemetry.feedback.labels(memory or "none").inc()
        return json_response(201 if recorded.created else 200, wire(recorded.feedback, memory))

    async def withdraw(self, principal: Principal, feedback_id: str) -> Response:
        try:
            recorded = await self._parts.store.withdraw(principal.tenant.id, feedback_id)
        except FeedbackNotFound as error:
            raise _no_feedback(feedback_id) from error
        done = await self._carry_out(recorded)
        state = {"id": feedback_id, "object": "feedback.deleted", "deleted": True}
        return json_response(200, state | {"memory": "withdrawn" if done else "pending"})

    async def _draft(self, principal: Principal, body: FeedbackBody, key: str | None) -> FeedbackDraft:
        logged = await self._interaction(principal, body)
        messages = (logged.messages if logged else None) or body.messages
        if not messages:
            raise _not_logged()
        return FeedbackDraft(
            tenant_id=principal.tenant.id,
            adapter=logged.adapter if logged else route(principal.tenant, body.model).adapter,
            messages=messages,
            author=principal.key.id,
            trusted=Scope.CORRECT in principal.key.scopes,
            response_id=body.response_id,
            rejected=(logged.response or None) if logged else None,
            correction=body.correction,
            rating=body.rating,
            comment=body.comment,
            user=body.user,
            metadata=body.metadata,
            version_id=logged.version_id if logged else None,
            idempotency_key=key,
        )

    async def _interaction(self, principal: Principal, body: FeedbackBody) -> Interaction | None:
        """The tenant's own response, or None when the body brings what is needed. Anybody else's is not
        found."""
        if body.response_id is None:
            if not body.messages:
                raise InvalidRequest("Give `response_id`, or `messages`.", param="response_id")
            return None
        try:
            return await self._parts.interactions.find(principal.tenant.id, body.response_id)
        except InteractionNotFound as error:
            if body.messages:
                return None
            if principal.tenant.policy.logging is not Logging.FULL:
                raise _not_logged() from error
            raise NotFound(f"There is no response {body.response_id!r}.", param="response_id") from error

    async def _carry_out(self, recorded: Recorded) -> bool:
        """Whether all steps are done; what is not stays in the outbox, in order, and is done later."""
        for step in recorded.steps:
            try:
                await self._apply(step)
            except RetrievalError as error:
                log.warning("%s of %s waits in the outbox: %s", step.kind, step.subject, error)
                return False
            await self._parts.store.done(step.id)
        return True

    async def _apply(self, step: OutboxStep) -> None:
        if step.kind == MEMORY_PUT:
            await self._parts.retrieval.put_memory(MemoryEntry(**step.payload))
        else:
            await self._parts.retrieval.delete_memory(step.payload["tenant_id"], step.payload["id"])


def feedback_router(parts: FeedbackParts) -> APIRouter:
    router = APIRouter(prefix="/v1/feedback", tags=["feedback"])
    desk = FeedbackDesk(parts)

    @router.post("")
    async def post_feedback(request: Request) -> Response:
        principal = parts.access.principal(request, Scope.FEEDBACK)
        body = await parts.access.json(request, FeedbackBody)
        key = request.headers.get("idempotency-key")
        if key is not None and not 1 <= len(key) <= 256:
            raise InvalidRequest("Idempotency-Key has 1 to 256 characters.", param="Idempotency-Key")
        try:
            return await desk.post(principal, body, key)
        except SQLAlchemyError as error:
            log.error("feedback could not be stored: %s", error)
            raise Unavailable("Feedback cannot be stored right now.", retry_after_s=1.0) from error

    @router.get("")
    async def list_feedback(
        request: Request,
        after: str | None = None,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        order: Annotated[str, Query(pattern="^(asc|desc)$")] = "desc",
        status: CorrectionStatus | None = None,
    ) -> Response:
        tenant = parts.access.principal(request, Scope.FEEDBACK).tenant
        found = await parts.store.list(
            tenant.id, status=status, after=after, limit=limit + 1, newest_first=order == "desc"
        )
        return json_response(200, page([wire(entry) for entry in found], limit))

    @router.get("/{feedback_id}")
    async def get_feedback(request: Request, feedback_id: str) -> Response:
        tenant = parts.access.principal(request, Scope.FEEDBACK).tenant
        try:
            return json_response(200, wire(await parts.store.get(tenant.id, feedback_id)))
        except FeedbackNotFound as error:
            raise _no_feedback(feedback_id) from error

    @router.delete("/{feedback_id}")
    async def delete_feedback(request: Request, feedback_id: str) -> Response:
        principal = parts.access.principal(request, Scope.CORRECT)
        return await desk.withdraw(principal, feedback_id)

    return router


def memory_state(feedback: Feedback, done: bool) -> str | None:
    """`active`: the next request is answered with it. None: there is nothing to remember."""
    if feedback.correction is None:
        return None
    if feedback.status is CorrectionStatus.ACCEPTED:
        return "active" if done else "pending"
    return str(feedback.status)


def wire(feedback: Feedback, memory: str | None = None) -> Mapping[str, Any]:
    """A feedback object as clients see it. `memory` is reported where it was just decided."""
    document = {
        "id": feedback.id,
        "object": "feedback",
        "created_at": int(feedback.created_at.timestamp()),
        "response_id": feedback.response_id,
        "model": feedback.adapter,
        "messages": feedback.messages,
        "rejected": feedback.rejected,
        "correction": feedback.correction,
        "rating": feedback.rating,
        "comment": feedback.comment,
        "user": feedback.user,
        "metadata": feedback.metadata,
        "status": feedback.status.value,
        "reasons": list(feedback.reasons),
    }
    return document | ({"memory": memory} if memory else {})


def page(data: list[Mapping[str, Any]], limit: int) -> Mapping[str, Any]:
    """OpenAI's list object out of up to limit + 1 entries."""
    shown = data[:limit]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": len(data) > limit,
    }


def _no_feedback(feedback_id: str) -> NotFound:
    return NotFound(f"There is no feedback {feedback_id!r}.")


def _not_logged() -> ResponseNotLogged:
    return ResponseNotLogged(
        "This response was not logged; send `messages` with the feedback.", param="messages"
    )
