"""The facts of one generation request: what was decided about it, and what happened to it."""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from gateway.admission import Admission
from gateway.asgi import Headers, encoded
from gateway.context import Context, Wants
from gateway.flaws import flaw_of
from gateway.principal import Principal
from gateway.protocol import GenerationRequest, Names, Outcome, new_id
from gateway.routing import Route
from gateway.telemetry import Measured
from gateway.tracing import Described
from training.corrections import functions_of
from training.types import Interaction, Logging


class Decided(NamedTuple):
    """A request that was understood, let in and routed. It stays as it is until the request ends."""

    principal: Principal
    request: GenerationRequest
    route: Route
    wanted: Wants
    context: Context
    admission: Admission
    session_id: str | None
    names: Names


@dataclass(slots=True)
class Exchange:
    """What happens to one request. Times are of the monotonic performance counter, in seconds."""

    token: str = field(default_factory=new_id)
    started: float = field(default_factory=time.perf_counter)
    status: int = 200
    responding: bool = False
    engine_seconds: float = 0.0
    queued: float = 0.0
    """0 where it did not have to wait for its turn."""
    retrieving: float = 0.0
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
    context, route = decided.context, decided.route
    headers = [
        *exchange.request_header(),
        (b"x-graft-version", route.label.encode("latin-1")),
        (b"x-graft-arm", route.arm.encode("latin-1")),
        (b"x-graft-passages", ",".join(context.passage_ids).encode("latin-1")),
        (b"x-graft-memory", ",".join(context.memory_ids).encode("latin-1")),
        (b"x-graft-overhead-ms", b"%.2f" % (exchange.overhead() * 1000)),
        (b"openai-processing-ms", b"%d" % round(exchange.elapsed() * 1000)),
        *encoded(decided.admission.headers().items()),
    ]
    if context.degraded:
        headers.append((b"x-graft-retrieval", context.degraded.encode("latin-1")))
    return headers


def described(
    exchange: Exchange, principal: Principal, request: GenerationRequest, route: Route
) -> Described:
    """A request's span, by OpenTelemetry's conventions for generative AI."""
    usage = exchange.outcome.usage or {}
    attributes = {
        "gen_ai.operation.name": request.operation,
        "gen_ai.provider.name": "graft",
        "gen_ai.request.model": request.model,
        "gen_ai.response.id": f"{request.id_prefix}{exchange.token}",
        "gen_ai.response.model": route.label,
        "gen_ai.usage.input_tokens": usage.get("prompt_tokens", 0),
        "gen_ai.usage.output_tokens": usage.get("completion_tokens", 0),
        "graft.tenant": principal.tenant.id,
        "graft.arm": route.arm,
        "graft.retries": exchange.retries,
        "graft.overhead_ms": exchange.overhead() * 1000,
    }
    return f"{request.operation} {request.model[:128]}", exchange.status, attributes


def measured(exchange: Exchange, principal: Principal, route: Route) -> Measured:
    """For the metrics."""
    return Measured(
        tenant_id=principal.tenant.id,
        route=route,
        status=exchange.status,
        seconds=exchange.elapsed(),
        overhead=exchange.overhead(),
        queued=exchange.queued,
        retrieving=exchange.retrieving,
        first_token=exchange.first_token,
        usage=exchange.outcome.usage,
        retries=exchange.retries,
    )


def interaction_of(exchange: Exchange, decided: Decided) -> Interaction:
    """For the journal: the client's own conversation, never what we composed into it."""
    tenant, context = decided.principal.tenant, decided.context
    full = tenant.policy.logging is Logging.FULL
    tools = functions_of(decided.request.payload.get("tools")) if full else []
    return Interaction(
        id=decided.names.public_id,
        tenant_id=tenant.id,
        adapter=decided.route.adapter,
        version_id=decided.route.version_id,
        arm=decided.route.arm,
        messages=decided.request.messages if full else (),
        response=exchange.outcome.text if full else "",
        memory_ids=context.memory_ids,
        passage_ids=context.passage_ids,
        session_id=decided.session_id,
        usage=exchange.outcome.usage or {},
        latency_ms=exchange.elapsed() * 1000,
        status=exchange.status,
        at=datetime.now(UTC),
        detail={
            "scores": dict(context.scores),
            "timings_ms": exchange.timings(),
            "base": decided.route.base,
            **({"tools": tools} if tools else {}),
        },
        flaw=flaw_of(exchange.status, exchange.outcome),
        rollout=decided.route.rollout,
        draw=decided.route.draw,
    )
