"""Everything the gateway answers with that is not success, and how it looks over HTTP.

    GatewayError                500 server_error
    ├── InvalidRequest          400 invalid_request_error
    │   ├── ContextTooLong      400 context_length_exceeded
    │   ├── ResponseNotLogged   400 response_not_logged
    │   ├── TooLarge            413 request_too_large
    │   └── HeadersTooLarge     431 headers_too_large
    ├── Unauthenticated         401 invalid_api_key
    ├── Forbidden               403 permission_denied
    ├── NotFound                404 not_found
    │   └── ModelNotFound       404 model_not_found
    ├── Conflict                409 conflict
    │   └── KeyReused           409 idempotency_key_reused
    ├── RateLimited             429 rate_limit_exceeded
    │   └── NoMore              429 rate_limit_exceeded
    │       └── InsufficientQuota   429 insufficient_quota
    ├── Unavailable             503 service_unavailable
    │   ├── EngineUnavailable   503 engine_unavailable
    │   └── RetrievalFailed     503 retrieval_unavailable
    └── Timeout                 504 timeout

Each class is a row of that table: status, OpenAI's `type`, and `code`.
"""

from collections.abc import Mapping
from typing import Any


class GatewayError(Exception):
    """Base of the tree. `message` reaches the client: nothing of ours or of other tenants is in it."""

    status = 500
    type = "server_error"
    code = "server_error"
    retry_s: float | None = None
    """When trying again makes sense, where nobody knows better."""
    again = True
    """False: trying again is of no use, and clients, who would by the status, are told so."""

    def __init__(self, message: str, *, param: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = self.retry_s if retry_after_s is None else retry_after_s

    def body(self) -> dict[str, Any]:
        """OpenAI's error object with all four of its keys."""
        return error_body(self.message, self.type, self.code, self.param)

    def headers(self) -> Mapping[str, str]:
        """`retry-after` in whole seconds for everyone, `retry-after-ms` for clients that read it."""
        told = {} if self.again else {"x-should-retry": "false"}
        if self.retry_after_s is None:
            return told
        milliseconds = max(1, round(self.retry_after_s * 1000))
        return {"retry-after": str(-(-milliseconds // 1000)), "retry-after-ms": str(milliseconds), **told}


class InvalidRequest(GatewayError):
    status, type, code = 400, "invalid_request_error", "invalid_request_error"


class ContextTooLong(InvalidRequest):
    code = "context_length_exceeded"


class ResponseNotLogged(InvalidRequest):
    code = "response_not_logged"


class TooLarge(InvalidRequest):
    status, code = 413, "request_too_large"


class HeadersTooLarge(InvalidRequest):
    status, code = 431, "headers_too_large"


class Unauthenticated(GatewayError):
    status, type, code = 401, "invalid_request_error", "invalid_api_key"


class Forbidden(GatewayError):
    status, type, code = 403, "invalid_request_error", "permission_denied"


class NotFound(GatewayError):
    status, type, code = 404, "invalid_request_error", "not_found"


class ModelNotFound(NotFound):
    code = "model_not_found"


class Conflict(GatewayError):
    status, type, code = 409, "invalid_request_error", "conflict"


class KeyReused(Conflict):
    code, again = "idempotency_key_reused", False


class RateLimited(GatewayError):
    """limits: the `x-ratelimit-*` headers."""

    status, type, code = 429, "rate_limit_error", "rate_limit_exceeded"
    retry_s = 1.0

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
        limits: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, param=param, retry_after_s=retry_after_s)
        self._limits = limits or {}

    def headers(self) -> Mapping[str, str]:
        return {**super().headers(), **self._limits}


class NoMore(RateLimited):
    """Trying again soon is of no use."""

    again = False


class InsufficientQuota(NoMore):
    type, code = "insufficient_quota", "insufficient_quota"


class Unavailable(GatewayError):
    status, type, code = 503, "server_error", "service_unavailable"
    retry_s = 1.0


class EngineUnavailable(Unavailable):
    code = "engine_unavailable"


class RetrievalFailed(Unavailable):
    code = "retrieval_unavailable"


class Timeout(GatewayError):
    status, type, code = 504, "server_error", "timeout"


def error_body(message: str, kind: str, code: str | None, param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
