"""The data plane's composition root: `python -m gateway.app [--fd N | --host H --port P]` is one worker."""

import argparse
import asyncio
import importlib
import logging
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import uvicorn
import uvloop
from fastapi import FastAPI
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.routing import Route
from starlette.types import ASGIApp

from adapters.database import connect
from adapters.own_slots import OWN_SLOTS
from adapters.placement import taking
from adapters.registry import Registry
from adapters.slot_ledger import RedisSlots
from adapters.slots import SlotListener, Slots
from gateway.admission import Admissions
from gateway.asgi import Identified, Receive, Scope, Send, check_headers, respond_error
from gateway.connection import connections
from gateway.context import ContextSource
from gateway.demand import Demand
from gateway.errors import InvalidRequest
from gateway.explainer import Explainer
from gateway.feedback_tokens import FeedbackTokens
from gateway.follower import Follower
from gateway.idempotency import Writes
from gateway.key_use import KeyUse
from gateway.leases import Heartbeat, Leases
from gateway.ledger import RedisLedger
from gateway.limits import Limiter
from gateway.loader import SnapshotLoader
from gateway.lookout import Lookout
from gateway.outbox import Delivery
from gateway.protocol import new_id
from gateway.proxy import Proxy
from gateway.redis_client import connected
from gateway.replicas import Replicas
from gateway.response_store import ResponseStore
from gateway.routes.access import Access, answer_errors
from gateway.routes.embeddings import embeddings_router
from gateway.routes.explain import explain_router
from gateway.routes.feedback import feedback_router
from gateway.routes.feedback_desk import FeedbackParts
from gateway.routes.files import files_router
from gateway.routes.generation import generation_endpoints
from gateway.routes.generation_parts import GenerationParts
from gateway.routes.health import Readiness, health_router
from gateway.routes.models import models_router
from gateway.routes.openapi import described
from gateway.routes.responses import responses_router
from gateway.routes.vector_stores import vector_stores_router
from gateway.server import Server, spare_collections
from gateway.settings import Settings
from gateway.shadow_counts import ShadowCounts
from gateway.shadows import Shadows
from gateway.snapshot import CurrentSnapshot
from gateway.telemetry import Telemetry
from gateway.tracing import SPANS, NoSpans, Tracing
from gateway.turns import Turns
from retrieval.client import RetrievalClient
from training.feedback import FeedbackStore
from training.journal import Interactions, JournalWriter
from training.outbox import Outbox
from training.runs import RunStore

BACKLOG = 2048


class DataPlane:
    """The hot path first, as plain ASGI; everything else through FastAPI."""

    def __init__(self, generation: Mapping[str, ASGIApp], rest: ASGIApp) -> None:
        """generation: the endpoints of the hot path, by path."""
        self._generation = generation
        self._rest = Identified(rest, lambda: new_id("req_"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            check_headers(scope["headers"])
        except InvalidRequest as error:
            return await respond_error(send, error, [(b"x-request-id", new_id("req_").encode())])
        endpoint = self._generation.get(scope["path"]) if scope["method"] == "POST" else None
        await (endpoint or self._rest)(scope, receive, send)


@dataclass(frozen=True)
class Connections:
    """What a worker holds open."""

    record: AsyncEngine
    redis: Redis
    retrieval: RetrievalClient
    proxy: Proxy
    leases: Leases
    demand: Demand
    current: CurrentSnapshot
    journal: JournalWriter
    admissions: Admissions
    uses: KeyUse
    tracing: Tracing
    shadows: Shadows


@asynccontextmanager
async def data_plane(settings: Settings) -> AsyncIterator[DataPlane]:
    """A running worker without its HTTP server."""
    async with opened(settings) as connections:
        yield compose(settings, connections)


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Connections]:
    """Everything started in the order in which it is needed, and closed in reverse."""
    token = settings.internal_token.get_secret_value()
    leases, current = Leases(), CurrentSnapshot()
    async with AsyncExitStack() as stack:
        record = connect(settings.database)
        stack.push_async_callback(record.dispose)
        redis = connected(settings.redis)
        stack.push_async_callback(redis.aclose)
        retrieval = await stack.enter_async_context(RetrievalClient(settings.retrieval, token))
        uses = KeyUse(record)
        uses.start()
        # Closed after the journal: a record that is slow then costs no interaction.
        stack.push_async_callback(uses.close)
        journal = await stack.enter_async_context(JournalWriter(redis))
        worker_id = new_id("w_")
        demand = Demand()
        pools = settings.pools
        replicas = Replicas(
            pools,
            resident=lambda name: heartbeat.residency.get(name, ()),
            drained=lambda: heartbeat.drained,
        )
        slots = Slots(
            RedisSlots(redis, worker_id, settings.max_loras),
            replicas.urls,
            settings.max_loras,
            lambda: max(1, heartbeat.share.of(settings.max_loras - OWN_SLOTS)),
            settings.queue_size,
            settings.queue_seconds,
        )

        def running() -> Mapping[str, int]:
            return {url: count + slots.waiting_at([url]) for url, count in replicas.running.items()}

        heartbeat = Heartbeat(redis, worker_id, leases, settings.workers, demand, running)
        follower = Follower(SnapshotLoader(record, token), redis, current, heartbeat)
        await follower.start()
        stack.push_async_callback(follower.close)
        await heartbeat.start()
        stack.push_async_callback(heartbeat.close)
        limiter = Limiter(RedisLedger(redis, worker_id), lambda: heartbeat.share)
        limiter.start()
        stack.push_async_callback(limiter.close)
        listener = SlotListener(redis, slots)
        listener.start()
        stack.push_async_callback(listener.close)
        stack.push_async_callback(slots.close)
        proxy = Proxy(replicas, slots, leases, settings.engine_key, settings.engine_timeout_seconds)
        stack.push_async_callback(proxy.close)
        lookout = Lookout(replicas, proxy.well)
        lookout.start()
        stack.push_async_callback(lookout.close)
        turns = _turns(settings, pools, heartbeat, slots)
        admissions = Admissions(limiter, turns)
        tracing = _tracing(settings.otlp_url)
        stack.push_async_callback(tracing.close)
        shadows = Shadows(proxy, ContextSource(retrieval), turns, leases, journal, ShadowCounts(redis))
        stack.push_async_callback(shadows.close)
        held = record, redis, retrieval, proxy, leases, demand, current, journal
        yield Connections(*held, admissions, uses, tracing, shadows)


def _tracing(otlp_url: str) -> Tracing:
    """OpenTelemetry is imported only where spans go somewhere."""
    found: Tracing = importlib.import_module(SPANS).OtlpTracing(otlp_url) if otlp_url else NoSpans()
    return found


def _turns(
    settings: Settings, pools: Mapping[str, Sequence[str]], heartbeat: Heartbeat, slots: Slots
) -> Mapping[str, Turns]:
    """By base model. A request that waits for its adapter's slot lets another one go ahead to the engine, but no more
    of them than the engine takes at once. Drained replicas have no places, unless all are."""

    def of_pool(urls: Sequence[str]) -> Turns:
        def places() -> int:
            whole = settings.slots * len(taking(urls, heartbeat.drained, str))
            mine = max(1, heartbeat.share.of(whole))
            return mine + min(mine, slots.waiting_at(urls))

        return Turns(places, settings.queue_size, settings.queue_seconds)

    def serve() -> None:
        for queue in turns.values():
            queue.serve()

    turns = {base: of_pool(urls) for base, urls in pools.items()}
    slots.on_wait = serve
    return turns


def compose(settings: Settings, held: Connections) -> DataPlane:
    """The routes over what is open."""
    telemetry, responses = Telemetry(), ResponseStore(held.record)
    generation = GenerationParts(
        current=held.current,
        admissions=held.admissions,
        contexts=ContextSource(held.retrieval),
        proxy=held.proxy,
        leases=held.leases,
        demand=held.demand,
        journal=held.journal,
        telemetry=telemetry,
        responses=responses,
        uses=held.uses,
        tracing=held.tracing,
        shadows=held.shadows,
        max_body_bytes=settings.max_body_bytes,
        keep_alive_s=settings.stream_keep_alive_seconds,
    )
    endpoints, rest = generation_endpoints(generation), _rest(settings, held, telemetry, responses)
    for path, endpoint in endpoints.items():  # the framework says of other methods that there are none
        rest.router.routes.append(Route(path, endpoint, methods=["POST"], include_in_schema=False))
    return DataPlane(endpoints, rest)


def _rest(settings: Settings, held: Connections, telemetry: Telemetry, responses: ResponseStore) -> FastAPI:
    """Everything that is not generation."""
    access = Access(held.current, settings.max_body_bytes, held.uses)
    registry, store = Registry(held.record), FeedbackStore(held.record, settings.tool_parser)
    interactions = Interactions(held.redis, held.record, held.journal)
    writes = Writes(held.record)
    delivery = Delivery(Outbox(held.record), store, held.retrieval)
    tokens = FeedbackTokens(settings.internal_token.get_secret_value())
    feedback = FeedbackParts(access, store, delivery, interactions, tokens, telemetry)
    explainer = Explainer(interactions, registry, RunStore(held.record), store)
    app = FastAPI(title="Graft", openapi_url="/openapi.json", redoc_url=None, redirect_slashes=False)
    answer_errors(app)
    for router in (
        health_router(
            Readiness(held.proxy, held.retrieval, held.redis), telemetry, held.journal, held.current
        ),
        models_router(access),
        responses_router(access, responses),
        feedback_router(feedback),
        explain_router(access, explainer),
        files_router(access, held.retrieval, writes),
        vector_stores_router(access, held.retrieval, writes),
        embeddings_router(access, held.retrieval, held.admissions),
    ):
        app.include_router(router)
    app.openapi = described(app)  # type: ignore[method-assign]
    return app


async def serve(settings: Settings, listeners: list[socket.socket]) -> None:
    """One worker until SIGINT or SIGTERM."""
    async with data_plane(settings) as plane:
        spare_collections()
        config = uvicorn.Config(
            plane,
            http=connections(settings.client_patience_seconds),
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=settings.drain_seconds,
            timeout_keep_alive=75,
        )
        await Server(config).serve(sockets=listeners)


def listening(host: str, port: int) -> socket.socket:
    """Raises OSError when the address is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG, reuse_port=False)


def main(arguments: list[str]) -> None:
    settings = Settings()
    parser = argparse.ArgumentParser(prog="gateway.app", description="One worker of the data plane.")
    parser.add_argument("--fd", type=int, help="an inherited listening socket")
    parser.add_argument("--host", default=settings.host)
    parser.add_argument("--port", type=int, default=settings.port)
    parser.add_argument("--own-port", type=int, help="another, at which this worker alone answers")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    listeners = [
        socket.socket(fileno=options.fd) if options.fd is not None else listening(options.host, options.port)
    ]
    if options.own_port:
        listeners.append(listening(options.host, options.own_port))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings, listeners))


if __name__ == "__main__":
    main(sys.argv[1:])
