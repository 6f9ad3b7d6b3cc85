"""The facts of one generation request: what was decided about it, and what happened to it."""

import time
from dataclasses import dataclass, field

from gateway.admission import Admission
from gateway.asgi import Headers, encoded
from gateway.context import Context, Wants
from gateway.principal import Principal
from gateway.protocol import GenerationRequest, Names, Outcome, new_id
from gateway.routing import Route


@dataclass(frozen=True)
class Decided:
    """A request that was understood, let in and routed. It stays as it is until the request ends."""

    principal: Principal
    request: GenerationRequest
    route: Route
    wanted: Wants
    context: Context
    admission: Admission
    session_id: str | None
    names: Names


@dataclass
class Exchange:
    """What happens to one request. Times are of the monotonic performance counter, in seconds."""

    token: str = field(default_factory=lambda: new_id(""))
    started: float = field(default_factory=time.perf_counter)
    status: int = 200
    responding: bool = False
    engine_seconds: float = 0.0
    first_token: float | None = None
    outcome: Outcome = field(default_factory=Outcome)
    retries: int = 0

    def elapsed(self) -> float:
        return time.perf_counter() - self.started

    def overhead(self) -> float:
        return self.elapsed() - self.engine_seconds

    def timings(self) -> dict[str, float | None]:
        """In milliseconds: in the engine, outside it, and until a stream's first token."""
        first = None if self.first_token is None else self.first_token * 1000
        return {
            "engine": self.engine_seconds * 1000,
            "overhead": self.overhead() * 1000,
            "first_token": first,
        }

    def request_header(self) -> Headers:
        return [(b"x-request-id", f"req_{self.token}".encode())]


def response_headers(exchange: Exchange, decided: Decided) -> Headers:
    """Which version answered, from which passages and corrections, and what the gateway cost."""
    context = decided.context
    headers = {
        "x-request-id": f"req_{exchange.token}",
        "x-graft-version": decided.route.label,
        "x-graft-arm": decided.route.arm,
        "x-graft-passages": ",".join(context.passage_ids),
        "x-graft-memory": ",".join(context.memory_ids),
        "x-graft-overhead-ms": f"{exchange.overhead() * 1000:.2f}",
        "openai-processing-ms": str(round(exchange.elapsed() * 1000)),
        **decided.admission.headers(),
    }
    if context.degraded:
        headers["x-graft-retrieval"] = context.degraded
    return encoded(headers.items())
