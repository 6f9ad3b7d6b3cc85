"""How failures look on the admin API: the same four keys as on the data plane, from one table."""

from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from adapters import errors as adapters
from gateway.errors import (
    Conflict,
    EngineUnavailable,
    GatewayError,
    InvalidRequest,
    NotFound,
    RetrievalFailed,
    Timeout,
    TooLarge,
    Unavailable,
)
from gateway.leases import TTL_MS
from retrieval.errors import RetrievalError
from training import errors as training

TABLE: Mapping[type[Exception], type[GatewayError]] = {
    adapters.NotFound: NotFound,
    adapters.ConflictError: Conflict,
    adapters.InvalidAdapter: InvalidRequest,
    adapters.AdapterTooLarge: TooLarge,
    adapters.SourceRefused: InvalidRequest,
    adapters.ImportTooSlow: Timeout,
    adapters.BadBaseModel: Conflict,
    adapters.ArtifactError: Conflict,
    adapters.ProbeFailed: Conflict,
    adapters.EngineError: EngineUnavailable,
    adapters.WorkersBehind: Unavailable,
    training.RunNotFound: NotFound,
    training.FeedbackNotFound: NotFound,
    training.FeedbackConflict: Conflict,
    training.InvalidFeedback: InvalidRequest,
    training.RunConflict: Conflict,
    training.InvalidRecipe: InvalidRequest,
    RetrievalError: RetrievalFailed,
    SQLAlchemyError: Unavailable,
    RedisError: Unavailable,
}
"""The nearest class in an exception's line of ancestors counts."""
RETRY_AFTER_S = TTL_MS / 1000 + 1
"""A Redis that has just been started knows by then which workers live."""
AWAY = "The record cannot be reached at the moment."
HIDDEN = (SQLAlchemyError, RedisError)
"""Their texts hold statements and addresses, which belong in the log."""


def translated(error: Exception) -> GatewayError:
    """The gateway's own error for a foreign one; what is not in the table is a defect, 500."""
    if isinstance(error, GatewayError):
        return error
    for ancestor in type(error).__mro__:
        if ancestor in TABLE:
            message = AWAY if isinstance(error, HIDDEN) else str(error)
            kind = TABLE[ancestor]
            again = RETRY_AFTER_S if issubclass(kind, Unavailable) else None
            return kind(message, param=getattr(error, "param", None), retry_after_s=again)
    return GatewayError("Something went wrong; the log of control says what.")


def install(app: FastAPI) -> None:
    """Every failure of the app leaves in OpenAI's shape."""

    async def answer(_: Request, error: Exception) -> JSONResponse:
        mine = translated(error)
        return JSONResponse(mine.body(), mine.status, dict(mine.headers()))

    async def refuse(_: Request, error: Exception) -> JSONResponse:
        mine = _invalid(error) if isinstance(error, RequestValidationError) else InvalidRequest(str(error))
        return JSONResponse(mine.body(), mine.status)

    async def miss(_: Request, error: Exception) -> JSONResponse:
        status = error.status_code if isinstance(error, HTTPException) else 404
        mine = NotFound("There is no such endpoint.")
        return JSONResponse(mine.body(), status)

    kinds: list[type[Exception]] = [GatewayError, *TABLE]
    for kind in kinds:
        app.add_exception_handler(kind, answer)
    app.add_exception_handler(RequestValidationError, refuse)
    app.add_exception_handler(HTTPException, miss)
    app.add_exception_handler(Exception, answer)


def _invalid(error: RequestValidationError) -> InvalidRequest:
    """The first problem; `param` is where it is, without the part of the request it is in."""
    problem = error.errors()[0]
    where = ".".join(str(step) for step in problem["loc"] if step not in ("body", "query", "path"))
    return InvalidRequest(f"{where}: {problem['msg']}" if where else str(problem["msg"]), param=where or None)
