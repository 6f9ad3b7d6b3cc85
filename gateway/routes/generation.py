"""The endpoints that generate text: authenticate, route, admit, retrieve, compose, forward, account.

What sets one of them apart is its class of request: `ChatRequest`, `CompletionRequest`, `ResponseRequest`.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from gateway.asgi import (
    EVENTS,
    ClientLeft,
    DisconnectWatch,
    Receive,
    RequestHeaders,
    Scope,
    Send,
    read_body,
    respond_error,
    start,
)
from gateway.chat_request import ChatRequest
from gateway.completion_request import CompletionRequest
from gateway.context import wants
from gateway.engine_connection import EngineHttpError
from gateway.engine_http import Answer
from gateway.errors import EngineUnavailable, GatewayError, InvalidRequest, Unavailable
from gateway.exchange import Decided, Exchange, described, interaction_of, measured, response_headers
from gateway.keep_alive import KeepAlive
from gateway.keys import Scope as KeyScope
from gateway.principal import Principal, authenticate
from gateway.protocol import GenerationRequest, Names, Renamer, engine_body, engine_error
from gateway.proxy import Call
from gateway.response_request import ResponseRequest
from gateway.routes.generation_parts import GenerationParts
from gateway.routing import route, sticky_key
from gateway.tracing import Span
from training.types import Logging

log = logging.getLogger(__name__)

CLIENT_LEFT = 499
MAX_SESSION_ID = 128
NO_WAIT_S = 0.0001
"""What takes less is no wait."""
BROKEN = EngineUnavailable("The engine stopped in the middle of the answer.")
STOPPING = Unavailable("The server is stopping.")


class GenerationEndpoint:
    """A plain ASGI application. parse: a body as the endpoint's kind of request."""

    def __init__(self, parts: GenerationParts, parse: Callable[[bytes], GenerationRequest]) -> None:
        self._parts = parts
        self._parse = parse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange()
        self._parts.telemetry.inflight += 1
        try:
            await self._serve(exchange, scope, receive, send)
        except GatewayError as error:
            await self._refuse(exchange, send, error)
        except ClientLeft:
            self._parts.telemetry.refuse("client_left")
        except asyncio.CancelledError:  # the worker's time to finish is over
            await self._refuse(exchange, send, STOPPING)
        except Exception:
            log.exception("request req_%s failed", exchange.token)
            await self._refuse(exchange, send, GatewayError("The server had an error."))
        finally:
            self._parts.telemetry.inflight -= 1

    async def _refuse(self, exchange: Exchange, send: Send, error: GatewayError) -> None:
        self._parts.telemetry.refuse(error.code)
        if not exchange.responding:
            await respond_error(send, error, exchange.request_header())

    async def _serve(self, exchange: Exchange, scope: Scope, receive: Receive, send: Send) -> None:
        """From the first byte in to the last byte out."""
        parts, headers = self._parts, RequestHeaders(scope)
        now = datetime.now(UTC)
        snapshot = parts.current.value
        principal = self._principal(headers, now)
        began = time.perf_counter()
        body = await read_body(receive, headers, parts.max_body_bytes)
        exchange.started += time.perf_counter() - began  # how long a client takes to send is not our time
        request = self._parse(body)
        if parts.current.value is not snapshot:  # what the old one names may be unloaded by now
            principal = self._principal(headers, now)
        session_id = (headers.get(b"x-session-id") or "")[:MAX_SESSION_ID] or None
        sticky = sticky_key(session_id, request.payload.get("user"), exchange.token)
        chosen = route(principal.tenant, request.model, headers.get(b"x-adapter"), sticky)
        with parts.leases.held(chosen.version_id):
            admission = await parts.admissions.admit(principal, request.token_estimate, chosen.base)
            parts.demand.note(principal.tenant, chosen.version_id)
            span = parts.tracing.begin(headers)
            decided: Decided | None = None
            try:
                with DisconnectWatch(scope) as watch:
                    if isinstance(request, ResponseRequest):
                        request = await parts.responses.resume(principal.tenant, request)
                    asks = headers.get(b"x-retrieval"), headers.get(b"x-memory")
                    wanted = wants(principal.tenant.policy, *asks)
                    began = time.perf_counter()
                    context = await parts.contexts.gather(
                        principal.tenant, chosen.version_id, request.question, wanted
                    )
                    exchange.retrieving = _waited(began)
                    names = Names(request.id_prefix + exchange.token, request.model, chosen.engine_model)
                    decided = Decided(
                        principal, request, chosen, wanted, context, admission, session_id, names
                    )
                    await self._forward(exchange, decided, span, watch, send)
            except ClientLeft:
                exchange.status = CLIENT_LEFT
                raise
            except GatewayError as error:
                exchange.status = error.status
                if decided is not None and error.status >= 500:
                    self._journal(exchange, decided)
                raise
            except asyncio.CancelledError:
                exchange.status = STOPPING.status
                raise
            except Exception:
                exchange.status = GatewayError.status
                raise
            finally:
                if exchange.responding or exchange.status == CLIENT_LEFT:
                    admission.settle((exchange.outcome.usage or {}).get("total_tokens"))
                admission.release()
                parts.telemetry.record(measured(exchange, principal, chosen))
                span.end(lambda: described(exchange, principal, request, chosen))
        self._journal(exchange, decided)
        parts.shadows.offer(exchange, decided)

    def _principal(self, headers: RequestHeaders, now: datetime) -> Principal:
        given = headers.get(b"authorization"), headers.get(b"x-tenant-id")
        principal = authenticate(self._parts.current.value, *given, now)
        self._parts.uses.note(principal.key.id, now)
        principal.require(KeyScope.CHAT)
        return principal

    async def _forward(
        self, exchange: Exchange, decided: Decided, span: Span, watch: DisconnectWatch, send: Send
    ) -> None:
        request, chosen = decided.request, decided.route
        salt = decided.principal.tenant.cache_salt
        body = engine_body(request, decided.context.text, chosen.engine_model, salt, exchange.token)
        call = Call(chosen, body, exchange.token, request.path, request.engine_ids, span.headers)
        began = time.perf_counter()
        await decided.admission.turn()
        exchange.queued = _waited(began)
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
        document, exchange.outcome = request.answer(reply.body, decided.names)
        if isinstance(request, ResponseRequest):
            await self._keep(decided, request, document)
        exchange.responding = True
        await watch.respond(send, response_headers(exchange, decided), orjson.dumps(document))

    async def _stream(
        self, exchange: Exchange, decided: Decided, call: Call, watch: DisconnectWatch, send: Send
    ) -> None:
        request = decided.request
        asked = time.perf_counter()
        async with self._parts.proxy.stream(call) as answer:
            exchange.engine_seconds = time.perf_counter() - asked
            if answer.status != 200:
                body = await answer.refusal()
                raise engine_error(answer.status, body, call.route.engine_model, request.model)
            keep_text = decided.principal.tenant.policy.logging is Logging.FULL
            renamer = request.renamer(decided.names, keep_text=keep_text)
            exchange.responding = True
            await start(send, 200, [*EVENTS, *response_headers(exchange, decided)])
            try:
                await self._relay(exchange, call, answer, renamer, watch, send)
                if isinstance(request, ResponseRequest) and renamer.final is not None:
                    await self._keep(decided, request, renamer.final)
                    watch.finished = True
                    await send({"type": "http.response.body", "body": renamer.closing(), "more_body": True})
            except asyncio.CancelledError:
                if not watch.left:
                    if not renamer.done or renamer.final is not None:
                        await self._break_off(exchange, renamer, send, STOPPING)
                    await send({"type": "http.response.body", "body": b""})
                elif exchange.first_token is not None:
                    self._parts.proxy.ended(call)  # the engine did its part
                raise
            finally:
                exchange.engine_seconds = time.perf_counter() - asked
                exchange.outcome = renamer.outcome()
            watch.finished = True
            await send({"type": "http.response.body", "body": b""})

    async def _relay(
        self,
        exchange: Exchange,
        call: Call,
        answer: Answer,
        renamer: Renamer,
        watch: DisconnectWatch,
        send: Send,
    ) -> None:
        """Pass events on until the engine ends the stream; a stream that breaks off ends with an error event. Who has
        read the last event may leave before the engine's end has come: that is a whole answer."""
        try:
            with KeepAlive(send, self._parts.keep_alive_s) as alive:

                def take(piece: bytes) -> bool:
                    events = renamer.feed(piece)
                    if not events:
                        return True
                    if exchange.first_token is None and renamer.speaking:
                        exchange.first_token = exchange.elapsed()
                    alive.sent()
                    watch.finished = renamer.done and renamer.final is None
                    return watch.client.write_chunk(events)

                await answer.pour(take, watch.client.drained)
        except (EngineHttpError, EngineUnavailable) as error:
            log.warning("stream of req_%s broke off: %r", exchange.token, error)
        if renamer.error is None and renamer.done:
            return self._parts.proxy.ended(call)
        if not isinstance(renamer.error, InvalidRequest):
            self._parts.proxy.broke_off(call)
        await self._break_off(exchange, renamer, send, renamer.error or BROKEN)

    async def _keep(self, decided: Decided, request: ResponseRequest, document: dict[str, Any]) -> None:
        """Before the client reads it: by then it is kept, or says that it is not."""
        document["store"] = await self._parts.responses.keep(decided.principal.tenant, request, document)

    async def _break_off(self, exchange: Exchange, renamer: Renamer, send: Send, error: GatewayError) -> None:
        exchange.status = error.status
        self._parts.telemetry.refuse("stream_broken")
        await send({"type": "http.response.body", "body": renamer.broken(error), "more_body": True})

    def _journal(self, exchange: Exchange, decided: Decided) -> None:
        if decided.principal.tenant.policy.logging is not Logging.OFF:
            self._parts.journal.write(interaction_of(exchange, decided))


def _waited(since: float) -> float:
    took = time.perf_counter() - since
    return took if took > NO_WAIT_S else 0.0


def generation_endpoints(parts: GenerationParts) -> Mapping[str, GenerationEndpoint]:
    """By path."""
    kinds = (ChatRequest, CompletionRequest, ResponseRequest)
    return {kind.path: GenerationEndpoint(parts, kind.parse) for kind in kinds}
