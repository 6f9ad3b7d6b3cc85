"""`POST /v1/chat/completions`: authenticate, route, admit, retrieve, compose, forward, account."""

import logging
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pyreqwest.exceptions import PyreqwestError
from pyreqwest.response import Response

from gateway.admission import Admission, Admissions
from gateway.asgi import (
    EVENTS,
    ClientLeft,
    DisconnectWatch,
    Headers,
    Receive,
    RequestHeaders,
    Scope,
    Send,
    encoded,
    read_body,
    respond,
    respond_error,
    start,
)
from gateway.context import Context, ContextSource, wants
from gateway.errors import EngineUnavailable, GatewayError
from gateway.keys import Scope as KeyScope
from gateway.leases import Leases
from gateway.principal import Principal, authenticate
from gateway.protocol import (
    ChatRequest,
    Outcome,
    engine_error,
    engine_payload,
    new_id,
    parse_chat,
    rename_answer,
)
from gateway.proxy import Call, Proxy
from gateway.routing import Route, route
from gateway.snapshot import CurrentSnapshot
from gateway.sse import StreamRenamer, error_event
from gateway.telemetry import Measured, Telemetry
from retrieval.prompt import compose
from training.journal import JournalWriter
from training.types import Interaction, Logging

log = logging.getLogger(__name__)

CLIENT_LEFT = 499
MAX_SESSION_ID = 128


@dataclass(frozen=True)
class ChatParts:
    """What the endpoint works with."""

    current: CurrentSnapshot
    admissions: Admissions
    contexts: ContextSource
    proxy: Proxy
    leases: Leases
    journal: JournalWriter
    telemetry: Telemetry
    max_body_bytes: int


@dataclass(frozen=True)
class Decided:
    """A request that was understood, let in and routed. It stays as it is until the request ends."""

    principal: Principal
    request: ChatRequest
    route: Route
    context: Context
    admission: Admission
    session_id: str | None


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

    @property
    def response_id(self) -> str:
        return f"chatcmpl-{self.token}"

    def elapsed(self) -> float:
        return time.perf_counter() - self.started

    def overhead(self) -> float:
        return self.elapsed() - self.engine_seconds

    def request_header(self) -> Headers:
        return [(b"x-request-id", f"req_{self.token}".encode())]


class ChatEndpoint:
    """A plain ASGI application."""

    def __init__(self, parts: ChatParts) -> None:
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange()
        self._parts.telemetry.inflight.inc()
        try:
            await self._serve(exchange, RequestHeaders(scope), receive, send)
        except GatewayError as error:
            await self._refuse(exchange, send, error)
        except ClientLeft:
            self._parts.telemetry.refuse("client_left")
        except Exception:
            log.exception("request req_%s failed", exchange.token)
            await self._refuse(exchange, send, GatewayError("The server had an error."))
        finally:
            self._parts.telemetry.inflight.dec()

    async def _refuse(self, exchange: Exchange, send: Send, error: GatewayError) -> None:
        exchange.status = error.status
        self._parts.telemetry.refuse(error.code)
        if not exchange.responding:
            await respond_error(send, error, exchange.request_header())

    async def _serve(self, exchange: Exchange, headers: RequestHeaders, receive: Receive, send: Send) -> None:
        """From the first byte in to the last byte out."""
        parts = self._parts
        principal = authenticate(
            parts.current.value, headers.get(b"authorization"), headers.get(b"x-tenant-id"), datetime.now(UTC)
        )
        principal.require(KeyScope.CHAT)
        request = parse_chat(await read_body(receive, headers, parts.max_body_bytes))
        chosen = route(principal.tenant, request.model, headers.get(b"x-adapter"))
        admission = await parts.admissions.admit(principal, request.token_estimate)
        if chosen.version_id:
            parts.leases.acquire(chosen.version_id)
        try:
            async with DisconnectWatch(receive) as watch:
                context = await self._context(principal, request, chosen, headers)
                session_id = (headers.get(b"x-session-id") or "")[:MAX_SESSION_ID] or None
                decided = Decided(principal, request, chosen, context, admission, session_id)
                await self._forward(exchange, decided, watch, send)
        except ClientLeft:
            exchange.status = CLIENT_LEFT
            raise
        finally:
            if chosen.version_id:
                parts.leases.release(chosen.version_id)
            if exchange.responding or exchange.status == CLIENT_LEFT:
                admission.settle((exchange.outcome.usage or {}).get("total_tokens"))
            admission.release()
            self._measure(exchange, principal, chosen)
        self._journal(exchange, decided)

    async def _context(
        self, principal: Principal, request: ChatRequest, chosen: Route, headers: RequestHeaders
    ) -> Context:
        tenant = principal.tenant
        wanted = wants(tenant.policy, headers.get(b"x-retrieval"), headers.get(b"x-memory"))
        return await self._parts.contexts.gather(tenant, chosen.version_id, request.question, wanted)

    async def _forward(
        self, exchange: Exchange, decided: Decided, watch: DisconnectWatch, send: Send
    ) -> None:
        request, chosen = decided.request, decided.route
        messages = compose(request.messages, decided.context.text)
        salt = decided.principal.tenant.cache_salt
        call = Call(chosen, engine_payload(request, messages, chosen.engine_model, salt), exchange.token)
        await decided.admission.turn()
        try:
            if request.stream:
                await self._stream(exchange, decided, call, watch, send)
            else:
                await self._answer(exchange, decided, call, watch, send)
        finally:
            exchange.retries = call.retries

    async def _answer(
        self, exchange: Exchange, decided: Decided, call: Call, watch: DisconnectWatch, send: Send
    ) -> None:
        request = decided.request
        asked = time.perf_counter()
        try:
            reply = await self._parts.proxy.answer(call)
        finally:
            exchange.engine_seconds = time.perf_counter() - asked
        if reply.status != 200:
            raise engine_error(reply.status, reply.body, call.route.engine_model, request.model)
        body, exchange.outcome = rename_answer(reply.body, exchange.response_id, request.model)
        watch.finished = exchange.responding = True
        await respond(send, 200, response_headers(exchange, decided), body)

    async def _stream(
        self, exchange: Exchange, decided: Decided, call: Call, watch: DisconnectWatch, send: Send
    ) -> None:
        request = decided.request
        asked = time.perf_counter()
        async with self._parts.proxy.stream(call) as response:
            exchange.engine_seconds = time.perf_counter() - asked
            if response.status != 200:
                body = (await response.bytes()).to_bytes()
                raise engine_error(response.status, body, call.route.engine_model, request.model)
            renamer = StreamRenamer(
                exchange.response_id,
                request.model,
                call.route.engine_model,
                keep_usage=request.wants_usage,
                keep_text=decided.principal.tenant.policy.logging is Logging.FULL,
            )
            exchange.responding = True
            await start(send, 200, [EVENTS, *response_headers(exchange, decided)])
            try:
                await self._relay(exchange, response, renamer, send)
            finally:
                exchange.engine_seconds = time.perf_counter() - asked
                exchange.outcome = renamer.outcome()
            watch.finished = True
            await send({"type": "http.response.body", "body": b""})

    async def _relay(
        self, exchange: Exchange, response: Response, renamer: StreamRenamer, send: Send
    ) -> None:
        """Pass events on until the engine ends the stream; a stream that breaks off ends with an error
        event."""
        reader = response.body_reader
        try:
            while (chunk := await reader.read_chunk()) is not None:
                events = renamer.feed(chunk.to_bytes())
                if events:
                    if exchange.first_token is None:
                        exchange.first_token = exchange.elapsed()
                    await send({"type": "http.response.body", "body": events, "more_body": True})
        except PyreqwestError as error:
            log.warning("stream of req_%s broke off: %s", exchange.token, error)
        if renamer.failed or not renamer.done:
            await self._break_off(exchange, renamer, send)

    async def _break_off(self, exchange: Exchange, renamer: StreamRenamer, send: Send) -> None:
        broken = EngineUnavailable("The engine stopped in the middle of the answer.")
        exchange.status = broken.status
        self._parts.telemetry.refuse("stream_broken")
        if not renamer.failed:
            event = error_event(broken.body())
            await send({"type": "http.response.body", "body": event, "more_body": True})

    def _measure(self, exchange: Exchange, principal: Principal, chosen: Route) -> None:
        self._parts.telemetry.record(
            Measured(
                tenant_id=principal.tenant.id,
                route=chosen,
                status=exchange.status,
                seconds=exchange.elapsed(),
                overhead=exchange.overhead(),
                first_token=exchange.first_token,
                usage=exchange.outcome.usage,
                retries=exchange.retries,
            )
        )

    def _journal(self, exchange: Exchange, decided: Decided) -> None:
        """The client's own conversation, never what we composed into it."""
        tenant, context = decided.principal.tenant, decided.context
        if tenant.policy.logging is Logging.OFF:
            return
        full = tenant.policy.logging is Logging.FULL
        self._parts.journal.write(
            Interaction(
                id=exchange.response_id,
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
            )
        )


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
