"""A chat endpoint over real sockets: a client in front of it, an upstream of ours behind it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from gateway.context import ContextSource
from gateway.leases import Leases
from gateway.proxy import Proxy
from gateway.replicas import Replicas
from gateway.routes.chat import ChatEndpoint, ChatParts
from gateway.snapshot import CurrentSnapshot
from gateway.telemetry import Telemetry
from retrieval.types import Found, MemoryHit
from tests.unit.gateway.accounting import admissions
from tests.unit.gateway.stub_engine import StubEngine, served
from tests.unit.gateway.worlds import Member, adapter, member, snapshot, tenant
from training.types import Interaction


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
    acme: Member
    globex: Member

    async def chat(
        self, who: Member | None = None, headers: dict | None = None, **changes: Any
    ) -> httpx.Response:
        body = {"model": "default", "messages": [{"role": "user", "content": "Hello?"}], **changes}
        sent = {"authorization": (who or self.acme).bearer, **(headers or {})}
        return await self.client.post("/v1/chat/completions", json=body, headers=sent)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    acme = member(tenant("acme", adapter("ten_acme", stable="ver_1", v1="ver_1", v2="ver_2")))
    globex = member(tenant("globex"))
    engine, leases, current = StubEngine(), Leases(), CurrentSnapshot(snapshot(acme, globex))
    journal, memories, telemetry = Journal(), Memories(), Telemetry()
    async with served(engine) as upstream:
        proxy = Proxy(Replicas([upstream]), leases, "token", 5.0)
        endpoint = ChatEndpoint(
            ChatParts(
                current=current,
                admissions=admissions(),
                contexts=ContextSource(memories),
                proxy=proxy,
                leases=leases,
                journal=journal,
                telemetry=telemetry,
                max_body_bytes=100_000,
            )
        )
        async with served(endpoint) as url, httpx.AsyncClient(base_url=url, timeout=10) as client:
            yield Bench(engine, client, current, leases, journal, memories, telemetry, acme, globex)
        await proxy.close()
