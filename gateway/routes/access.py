"""What every endpoint but chat shares: the principal behind a request, its body, and errors in OpenAI's
shape."""

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from gateway.asgi import REQUEST_ID
from gateway.errors import GatewayError, InvalidRequest, NotFound, TooLarge, error_body
from gateway.key_use import KeyUse
from gateway.keys import Scope
from gateway.principal import Principal, authenticate
from gateway.snapshot import CurrentSnapshot, Snapshot

log = logging.getLogger(__name__)

Body = TypeVar("Body", bound=BaseModel)


class Access:
    """Reads principals and bodies out of requests. max_body_bytes: for JSON bodies."""

    def __init__(self, current: CurrentSnapshot, max_body_bytes: int, uses: KeyUse) -> None:
        self._current = current
        self._uses = uses
        self._max_body_bytes = max_body_bytes

    @property
    def snapshot(self) -> Snapshot:
        """What this worker knows at the moment."""
        return self._current.value

    def principal(self, request: Request, scope: Scope | None = None) -> Principal:
        """Raises Unauthenticated, Forbidden or InvalidRequest."""
        headers, now = request.headers, datetime.now(UTC)
        principal = authenticate(
            self._current.value, headers.get("authorization"), headers.get("x-tenant-id"), now
        )
        self._uses.note(principal.key.id, now)
        if scope is not None:
            principal.require(scope)
        return principal

    async def json(self, request: Request, model: type[Body]) -> Body:
        """The body as `model`. Raises InvalidRequest with the field at fault, or TooLarge."""
        try:
            return model.model_validate_json(await read_all(request, self._max_body_bytes))
        except ValidationError as error:
            raise _invalid(error.errors(include_url=False, include_input=False)) from error


async def read_all(request: Request, limit: int) -> bytes:
    """Raises TooLarge, and InvalidRequest when the client leaves before the end."""
    parts: list[bytes] = []
    size = 0
    async for part in arriving(request):
        size += len(part)
        if size > limit:
            raise TooLarge(f"The body may have {limit} bytes at most.")
        parts.append(part)
    return b"".join(parts)


async def arriving(request: Request) -> AsyncIterator[bytes]:
    """The body as it comes. Raises InvalidRequest when the client leaves before the end."""
    try:
        async for part in request.stream():
            yield part
    except ClientDisconnect as error:
        raise InvalidRequest("The body is not complete.") from error


def json_response(status: int, content: Any, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, headers, "application/json")


def page(data: Sequence[Mapping[str, Any]], limit: int) -> dict[str, Any]:
    """OpenAI's list object out of up to limit + 1 entries."""
    shown = list(data[:limit])
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": len(data) > limit,
    }


def answer_errors(app: FastAPI) -> None:
    """Every failure leaves as OpenAI's error object."""
    app.add_exception_handler(GatewayError, _gateway_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected)


async def _gateway_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, GatewayError)
    return json_response(error.status, error.body(), dict(error.headers()))


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return await _gateway_error(request, _invalid(error.errors()))


async def _http_error(request: Request, error: Exception) -> Response:
    """What the framework itself refuses: an unknown path, a method that a path does not have."""
    assert isinstance(error, HTTPException)
    if error.status_code == NotFound.status:
        return await _gateway_error(request, NotFound(f"There is no {request.method} {_path(request)}."))
    body = error_body(str(error.detail), InvalidRequest.type, None)
    return json_response(error.status_code, body, dict(error.headers or {}))


async def _unexpected(request: Request, error: Exception) -> Response:
    log.error("%s: %s %s failed", request.scope[REQUEST_ID], request.method, _path(request), exc_info=error)
    return await _gateway_error(request, GatewayError("The server had an error."))


def _path(request: Request) -> str:
    """What was asked for; `request.url` is put together with the client's Host header."""
    return str(request.scope["path"])[:200]


def _invalid(details: Any) -> InvalidRequest:
    """The first of pydantic's findings."""
    first = details[0] if details else {"msg": "The request is not valid.", "loc": ()}
    places = [str(place) for place in first["loc"] if place not in ("body", "query", "path", "header")]
    return InvalidRequest(str(first["msg"]), param=".".join(places) or None)
