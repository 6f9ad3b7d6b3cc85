"""The generation endpoints over real sockets: a client in front of them, an upstream of ours behind them."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from redis.asyncio import Redis

from adapters.database import connect
from gateway.app import DataPlane
from gateway.context import ContextSource
from gateway.demand import Demand
from gateway.key_use import KeyUse
from gateway.leases import Leases
from gateway.policy import Policy
from gateway.proxy import Proxy
from gateway.replicas import Replicas
from gateway.response_store import ResponseStore
from gateway.routes.access import Access, answer_errors
from gateway.routes.generation import generation_endpoints
from gateway.routes.generation_parts import GenerationParts
from gateway.routes.responses import responses_router
from gateway.shadow_counts import ShadowCounts
from gateway.shadows import Shadows
from gateway.snapshot import CurrentSnapshot
from gateway.telemetry import Telemetry
from gateway.tracing import NoSpans
from gateway.turns import Turns
from retrieval.types import Found, MemoryHit
from tests.unit.gateway.accounting import admissions, slots
from tests.unit.gateway.rollout_world import World, rollout_world
from tests.unit.gateway.stub_engine import StubEngine, served
from tests.unit.gateway.worlds import Member, adapter, member, snapshot, tenant
from training.types import Interaction

HIT = MemoryHit("fb_1", "Hello?", "The approved answer.", 0.9)


@dataclass
class Journal:
    """Keeps what is written."""

    written: list[Interaction] = field(default_factory=list)

    def write(self, interaction: Interaction) -> None:
        self.written.append(interaction)


@dataclass
class Memories:
    """One correction for each tenant that has one."""

    by_tenant: dict[str, MemoryHit] = field(default_factory=dict)

    async def search(self, tenant_id: str, question: str, **_: Any) -> Found:
        hit = self.by_tenant.get(tenant_id)
        return Found(memory=(hit,) if hit else ())


@dataclass
class Bench:
    """acme has a stable and a candidate version, globex nothing."""

    engine: StubEngine
    client: httpx.AsyncClient
    current: CurrentSnapshot
    leases: Leases
    journal: Journal
    memories: Memories
    telemetry: Telemetry
    responses: ResponseStore
    counts: ShadowCounts
    acme: Member
    globex: Member

    def change(self, **values: Any) -> None:
        """acme, from here on."""
        view = replace(self.acme.view, **values)
        self.current.value = snapshot(replace(self.acme, view=view), self.globex)

    def set_policy(self, document: dict) -> None:
        self.change(policy=Policy.model_validate(document))

    async def chat(
        self, who: Member | None = None, headers: dict | None = None, **changes: Any
    ) -> httpx.Response:
        body = {"messages": [{"role": "user", "content": "Hello?"}], **changes}
        return await self.post("/v1/chat/completions", who, headers, **body)

    async def complete(
        self, who: Member | None = None, headers: dict | None = None, **changes: Any
    ) -> httpx.Response:
        return await self.post("/v1/completions", who, headers, **{"prompt": "Hello?", **changes})

    async def respond(
        self, who: Member | None = None, headers: dict | None = None, **changes: Any
    ) -> httpx.Response:
        return await self.post("/v1/responses", who, headers, **{"input": "Hello?", **changes})

    async def fetch(self, response_id: str, who: Member | None = None) -> httpx.Response:
        headers = {"authorization": (who or self.acme).bearer}
        return await self.client.get(f"/v1/responses/{response_id}", headers=headers)

    async def post(
        self, path: str, who: Member | None = None, headers: dict | None = None, **body: Any
    ) -> httpx.Response:
        sent = {"authorization": (who or self.acme).bearer, **(headers or {})}
        return await self.client.post(path, json={"model": "default", **body}, headers=sent)


@pytest.fixture
async def bench(sqlite_url: str, redis_url: str) -> AsyncIterator[Bench]:
    acme = member(tenant("acme", adapter("ten_acme", stable="ver_1", v1="ver_1", v2="ver_2")))
    globex = member(tenant("globex"))
    engine, leases, current = StubEngine(), Leases(), CurrentSnapshot(snapshot(acme, globex))
    journal, memories, telemetry = Journal(), Memories(), Telemetry()
    record = connect(sqlite_url)
    responses, uses = ResponseStore(record), KeyUse(record)
    redis = Redis.from_url(redis_url)
    counts = ShadowCounts(redis)
    async with served(engine) as upstream:
        proxy = Proxy(Replicas({"base": [upstream]}), slots([upstream]), leases, "token", 5.0)
        contexts = ContextSource(memories)
        turns = {"base": Turns(lambda: 1000, 1000, 30.0)}
        shadows = Shadows(proxy, contexts, turns, leases, journal, counts)
        parts = GenerationParts(
            current=current,
            admissions=admissions(),
            contexts=contexts,
            proxy=proxy,
            leases=leases,
            demand=Demand(),
            journal=journal,
            telemetry=telemetry,
            responses=responses,
            uses=uses,
            tracing=NoSpans(),
            shadows=shadows,
            max_body_bytes=100_000,
            keep_alive_s=0.05,
        )
        rest = FastAPI()
        answer_errors(rest)
        rest.include_router(responses_router(Access(current, 100_000, uses), responses))
        plane = DataPlane(generation_endpoints(parts), rest)
        async with served(plane) as url, httpx.AsyncClient(base_url=url, timeout=10) as client:
            yield Bench(
                engine,
                client,
                current,
                leases,
                journal,
                memories,
                telemetry,
                responses,
                counts,
                acme,
                globex,
            )
        await shadows.close()
        await proxy.close()
    await redis.aclose()
    await record.dispose()


@pytest.fixture
async def world(tmp_path: Path, database_url: str, redis_url: str) -> AsyncIterator[World]:
    async with rollout_world(tmp_path, database_url, redis_url) as made:
        yield made
