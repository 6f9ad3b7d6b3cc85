"""Takes feedback in: finds what it is about, stores it, and carries out at once what follows in memory."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson

from gateway.errors import (
    Conflict,
    Forbidden,
    InvalidRequest,
    KeyReused,
    NoMore,
    NotFound,
    ResponseNotLogged,
)
from gateway.feedback_tokens import Claims, FeedbackTokens
from gateway.keys import Scope
from gateway.outbox import Delivery
from gateway.principal import Principal
from gateway.routes.access import Access
from gateway.routes.feedback_documents import (
    EditBody,
    FeedbackBody,
    TokenBody,
    memory_state,
    receipt,
    wire,
)
from gateway.routing import route
from gateway.telemetry import Telemetry
from training.corrections import functions_of
from training.drafts import FeedbackDraft, Recorded
from training.errors import (
    FeedbackConflict,
    FeedbackNotFound,
    IdempotencyReused,
    InteractionNotFound,
    InvalidFeedback,
    TooMuchFeedback,
)
from training.feedback import FeedbackStore
from training.journal import Interactions
from training.outbox import remembered
from training.types import Interaction, Logging


@dataclass(frozen=True)
class FeedbackParts:
    access: Access
    store: FeedbackStore
    delivery: Delivery
    interactions: Interactions
    tokens: FeedbackTokens
    telemetry: Telemetry


class FeedbackDesk:
    """Every method raises the gateway's errors only, but for the record's own."""

    def __init__(self, parts: FeedbackParts) -> None:
        self._parts = parts

    async def post(
        self, principal: Principal, claims: Claims | None, body: FeedbackBody, key: str | None
    ) -> tuple[int, dict[str, object]]:
        """claims: of the feedback token that it came with. Returns the status and the feedback object, of which a
        token's holder gets a receipt."""
        if claims is not None:
            body = _narrowed(body, claims)
        draft = await self._draft(principal, claims, body, key)
        with _translated():
            recorded = await self._parts.store.record(draft)
        status, memory = 201 if recorded.created else 200, await self._deliver(recorded)
        if claims is None:
            return status, wire(recorded.feedback, memory)
        return status, receipt(recorded.feedback, memory, claims.response, body.user)

    async def edit(self, principal: Principal, feedback_id: str, body: EditBody) -> dict[str, object]:
        with _translated():
            recorded = await self._parts.store.edit(
                principal.tenant.id,
                feedback_id,
                body.correction,
                author=principal.key.id,
                rules=principal.tenant.policy.screening.record(),
            )
        return wire(recorded.feedback, await self._deliver(recorded))

    async def withdraw(self, principal: Principal, feedback_id: str) -> dict[str, object]:
        with _translated():
            recorded = await self._parts.store.withdraw(principal.tenant.id, feedback_id)
        done = await self._parts.delivery.deliver(recorded)
        return {
            "id": feedback_id,
            "object": "feedback.deleted",
            "deleted": True,
            "memory": "withdrawn" if done else "pending",
            "trained_versions": list(recorded.trained_versions),
        }

    async def token(self, principal: Principal, body: TokenBody) -> dict[str, object]:
        """A token for one of the tenant's own responses."""
        try:
            await self._parts.interactions.find(principal.tenant.id, body.response_id)
        except InteractionNotFound as error:
            raise _no_response(body.response_id) from error
        expires = int(datetime.now(UTC).timestamp()) + body.expires_in
        claims = Claims(principal.tenant.id, principal.key.public_id, body.response_id, body.user, expires)
        return {
            "object": "feedback.token",
            "token": self._parts.tokens.mint(claims),
            "response_id": body.response_id,
            "user": body.user,
            "expires_at": expires,
        }

    async def _deliver(self, recorded: Recorded) -> str | None:
        """What becomes of it in memory."""
        done = await self._parts.delivery.deliver(recorded)
        memory = memory_state(recorded.feedback, remembered(recorded.feedback), done)
        self._parts.telemetry.feedback.labels(memory or "none").inc()
        return memory

    async def _draft(
        self, principal: Principal, claims: Claims | None, body: FeedbackBody, key: str | None
    ) -> FeedbackDraft:
        logged = await self._interaction(principal, body)
        messages = (logged.messages if logged else None) or body.messages
        if not messages and (logged is None or body.correction is not None):
            raise _not_logged()
        tools = (logged.detail or {}).get("tools") if logged and logged.messages else body.tools
        try:
            sent = orjson.dumps(body.model_dump(), option=orjson.OPT_SORT_KEYS)
        except orjson.JSONEncodeError as error:
            raise InvalidRequest(f"The body cannot be kept: {error}.") from error
        who = f"{principal.key.id}\n{claims.response if claims else ''}\n{key}"
        return FeedbackDraft(
            tenant_id=principal.tenant.id,
            adapter=logged.adapter if logged else route(principal.tenant, body.model).adapter,
            messages=messages or (),
            author=principal.key.id,
            trusted=claims is None and Scope.CORRECT in principal.key.scopes,
            response_id=body.response_id,
            rejected=(logged.response or None) if logged else None,
            correction=body.correction,
            rating=body.rating,
            comment=body.comment,
            user=body.user,
            metadata=body.metadata,
            version_id=logged.version_id if logged else None,
            idempotency_key=None if key is None else hashlib.sha256(who.encode()).hexdigest(),
            request_digest=hashlib.sha256(sent).hexdigest(),
            rules=principal.tenant.policy.screening.record(),
            tools=functions_of(tools),
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
            raise _no_response(body.response_id) from error


def _narrowed(body: FeedbackBody, claims: Claims) -> FeedbackBody:
    """What a token's holder says is about its one response, and is said by its one user."""
    if body.response_id not in (None, claims.response):
        raise Forbidden("This token is for another response.", param="response_id")
    if body.messages is not None:
        raise Forbidden("A token's holder cannot give `messages`.", param="messages")
    user = claims.user or f"response:{claims.response}"
    return body.model_copy(update={"response_id": claims.response, "user": user})


@contextmanager
def _translated() -> Iterator[None]:
    """The training package's errors as ours."""
    try:
        yield
    except InvalidFeedback as error:
        raise InvalidRequest(str(error), param=error.param) from error
    except FeedbackNotFound as error:
        raise NotFound(str(error)) from error
    except IdempotencyReused as error:
        raise KeyReused(str(error), param="Idempotency-Key") from error
    except FeedbackConflict as error:
        raise Conflict(str(error)) from error
    except TooMuchFeedback as error:
        raise NoMore(str(error)) from error


def _no_response(response_id: str) -> NotFound:
    return NotFound(f"There is no response {response_id!r}.", param="response_id")


def _not_logged() -> ResponseNotLogged:
    return ResponseNotLogged(
        "This response was not logged; send `messages` with the feedback.", param="messages"
    )
