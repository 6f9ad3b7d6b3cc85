"""`/v1/feedback`: what a tenant says about responses. A correction is in memory before the answer says so."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.exc import SQLAlchemyError

from gateway.errors import GatewayError, NotFound, Unavailable
from gateway.feedback_tokens import PREFIX, Claims
from gateway.idempotency import checked_key
from gateway.keys import Scope
from gateway.principal import BEARER, Principal
from gateway.routes.access import json_response, page
from gateway.routes.feedback_desk import FeedbackDesk, FeedbackParts
from gateway.routes.feedback_documents import EditBody, FeedbackBody, TokenBody, wire
from training.errors import FeedbackNotFound
from training.types import CorrectionStatus

log = logging.getLogger(__name__)

ANY_PAGE = {"access-control-allow-origin": "*"}
"""A page of any origin may post with a token: nothing but the token, which no browser adds by itself, lets it in."""
PREFLIGHT = {
    **ANY_PAGE,
    "access-control-allow-methods": "POST",
    "access-control-allow-headers": "authorization, content-type, idempotency-key",
    "access-control-max-age": "86400",
}


def feedback_router(parts: FeedbackParts) -> APIRouter:
    router = APIRouter(prefix="/v1/feedback", tags=["feedback"])
    desk = FeedbackDesk(parts)
    _posting(router, parts, desk)
    _reading(router, parts)
    _changing(router, parts, desk)
    return router


def _speaker(parts: FeedbackParts, request: Request) -> tuple[Principal, Claims | None]:
    """By key, or by feedback token."""
    given = request.headers.get("authorization", "")
    token = given[len(BEARER) :].strip() if given[: len(BEARER)].lower() == BEARER else ""
    if not token.startswith(PREFIX):
        return parts.access.principal(request, Scope.FEEDBACK), None
    return parts.tokens.principal(token, parts.access.snapshot, datetime.now(UTC))


def _posting(router: APIRouter, parts: FeedbackParts, desk: FeedbackDesk) -> None:
    @router.options("", status_code=204, response_class=Response)
    async def preflight() -> Response:
        return Response(status_code=204, headers=PREFLIGHT)

    @router.post("", status_code=201, responses={200: {"description": "Kept before, under the same key"}})
    async def post_feedback(request: Request) -> Response:
        """With a key, or from a browser with a feedback token."""
        try:
            principal, claims = _speaker(parts, request)
            body = await parts.access.json(request, FeedbackBody)
            key = checked_key(request.headers.get("idempotency-key"))
            with _stored():
                status, document = await desk.post(principal, claims, body, key)
        except GatewayError as error:
            return json_response(error.status, error.body(), {**error.headers(), **ANY_PAGE})
        return json_response(status, document, ANY_PAGE)

    @router.post("/tokens", status_code=201)
    async def mint_token(request: Request) -> Response:
        """For the tenant's server only: a page gets the token, never the key."""
        principal = parts.access.principal(request, Scope.FEEDBACK)
        body = await parts.access.json(request, TokenBody)
        return json_response(201, await desk.token(principal, body))


def _reading(router: APIRouter, parts: FeedbackParts) -> None:
    @router.get("")
    async def list_feedback(
        request: Request,
        after: str | None = None,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        order: Annotated[str, Query(pattern="^(asc|desc)$")] = "desc",
        status: CorrectionStatus | None = None,
        response_id: str | None = None,
    ) -> Response:
        tenant = parts.access.principal(request, Scope.FEEDBACK).tenant
        found = await parts.store.list(
            tenant.id,
            status=status,
            response_id=response_id,
            after=after,
            limit=limit + 1,
            newest_first=order == "desc",
        )
        return json_response(200, page([wire(entry) for entry in found], limit))

    @router.get("/{feedback_id}")
    async def get_feedback(request: Request, feedback_id: str) -> Response:
        tenant = parts.access.principal(request, Scope.FEEDBACK).tenant
        try:
            return json_response(200, wire(await parts.store.get(tenant.id, feedback_id)))
        except FeedbackNotFound as error:
            raise NotFound(str(error)) from error


def _changing(router: APIRouter, parts: FeedbackParts, desk: FeedbackDesk) -> None:
    @router.patch("/{feedback_id}")
    async def edit_feedback(request: Request, feedback_id: str) -> Response:
        """A new text: a new entry that replaces the old one, in memory at once."""
        principal = parts.access.principal(request, Scope.CORRECT)
        body = await parts.access.json(request, EditBody)
        with _stored():
            return json_response(200, await desk.edit(principal, feedback_id, body))

    @router.delete("/{feedback_id}")
    async def delete_feedback(request: Request, feedback_id: str) -> Response:
        principal = parts.access.principal(request, Scope.CORRECT)
        with _stored():
            return json_response(200, await desk.withdraw(principal, feedback_id))


@contextmanager
def _stored() -> Iterator[None]:
    """A record that is away is no defect of ours."""
    try:
        yield
    except SQLAlchemyError as error:
        log.error("feedback could not be stored: %s", error)
        raise Unavailable("Feedback cannot be stored right now.", retry_after_s=1.0) from error
