"""A whole system for a study, as `graft up` starts it, with clients for the operator and for tenants."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from openai import AsyncOpenAI

from gateway import launch
from gateway.cli.control import Control
from gateway.cli.demo import free_ports
from gateway.launch import System
from gateway.supervisor import Event

TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Client:
    """A tenant as it uses the system."""

    id: str
    name: str
    key: str
    openai: AsyncOpenAI
    http: httpx.AsyncClient

    async def correct(self, question: str, answer: str, key: str) -> dict[str, Any]:
        """Post a correction; repeating it with the same idempotency key changes nothing. Raises
        httpx.HTTPError."""
        body = {"messages": [{"role": "user", "content": question}], "correction": answer}
        response = await self.http.post("/v1/feedback", json=body, headers={"Idempotency-Key": key})
        response.raise_for_status()
        posted: dict[str, Any] = response.json()
        return posted


@dataclass
class House:
    """The running system. `events` is what its supervisor told, oldest first."""

    system: System
    control: Control
    admin: httpx.AsyncClient
    open_clients: AsyncExitStack
    events: list[Event] = field(default_factory=list)

    async def tenant(self, name: str, policy: Mapping[str, Any] | None = None) -> Client:
        """A tenant, made where it is missing, with a fresh key."""
        tenant_id, key = await self.control.make_tenant(name)
        if policy is not None:
            await self.control.call("PUT", f"tenants/{tenant_id}/policy", policy)
        url = self.system.plan.gateway_url
        enter = self.open_clients.enter_async_context
        openai = await enter(AsyncOpenAI(api_key=key, base_url=f"{url}/v1", max_retries=0, timeout=TIMEOUT_S))
        headers = {"Authorization": f"Bearer {key}"}
        http = await enter(
            httpx.AsyncClient(base_url=url, headers=headers, timeout=TIMEOUT_S, trust_env=False)
        )
        return Client(tenant_id, name, key, openai, http)


@contextlib.asynccontextmanager
async def house(directory: Path, overrides: Mapping[str, Any] | None = None) -> AsyncIterator[House]:
    """The system over a data directory, which may hold what an earlier one left. Raises LaunchError."""
    told = {"data_dir": directory, **free_ports(), **(overrides or {})}
    events: list[Event] = []
    settings = launch.read_settings(launch.environment(), told)
    async with launch.running(settings, events.append) as system, AsyncExitStack() as clients:
        plan = system.plan
        admin = await clients.enter_async_context(
            httpx.AsyncClient(
                base_url=plan.admin_url,
                headers={"Authorization": f"Bearer {plan.admin_key}"},
                timeout=TIMEOUT_S,
                trust_env=False,
            )
        )
        control = Control(admin, system.supervisor.processes["engine"].pid)
        yield House(system, control, admin, clients, events)
