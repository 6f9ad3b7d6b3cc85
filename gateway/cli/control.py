"""The demo's side of the admin API, and its view of the engine's processes from outside."""

import asyncio
import re
import time
import unicodedata
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import psutil

ENDED = frozenset({"succeeded", "rejected", "failed", "cancelled", "awaiting_approval"})
POLL_SECONDS = 0.25


def external_id(name: str) -> str:
    """A company's name in the letters that an external id allows."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-") or f"company-{name.encode().hex()}"


class Control:
    """Admin calls that the demo makes. Raises httpx.HTTPStatusError when one is refused."""

    def __init__(self, http: httpx.AsyncClient, engine_pid: int) -> None:
        self._http, self._engine_pid = http, engine_pid

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        response = await self._http.request(method, f"/admin/v1/{path}", json=body)
        response.raise_for_status()
        return response.json()

    async def make_tenant(self, name: str) -> tuple[str, str]:
        """A tenant and a key of its own: (tenant id, secret)."""
        tenant = await self.call("POST", "tenants", {"external_id": external_id(name), "name": name})
        key = await self.call("POST", f"tenants/{tenant['id']}/keys", {"name": "demo"})
        return tenant["id"], key["secret"]

    async def set_trigger(self, tenant_id: str, count: int) -> None:
        """Start a run at this many corrections, as soon as they have settled."""
        policy = {"learning": {"triggers": {"count": count, "cooldown_seconds": 0}}}
        await self.call("PUT", f"tenants/{tenant_id}/policy", policy)

    async def runs(self, tenant_id: str) -> list[dict[str, Any]]:
        found = await self.call("GET", f"runs?tenant_id={tenant_id}")
        return list(found["data"])

    async def follow(self, tenant_id: str, deadline_s: float) -> AsyncIterator[dict[str, Any]]:
        """The tenant's newest run each time it has moved on, until it has ended. Raises TimeoutError."""
        until, last = time.monotonic() + deadline_s, None
        while time.monotonic() < until:
            runs = await self.runs(tenant_id)
            if runs:
                run = await self.call("GET", f"runs/{runs[0]['id']}")
                state = (run["status"], run["phase"], run["progress"])
                if state != last:
                    last = state
                    yield run
                if run["status"] in ENDED:
                    return
            await asyncio.sleep(POLL_SECONDS)
        raise TimeoutError(f"no run ended within {deadline_s:.0f} s")

    async def stable(self, tenant_id: str) -> str | None:
        """Label of the version that the default adapter serves, such as `default@v1`; None is the base model."""
        default = await self.call("GET", f"tenants/{tenant_id}/adapters/default")
        found: str | None = default["stable"]
        return found

    async def wait_stable(self, tenant_id: str, deadline_s: float) -> None:
        """Wait until the default adapter serves a version. Raises TimeoutError."""

        async def moved() -> bool:
            return await self.stable(tenant_id) is not None

        await _wait(moved, deadline_s, "the alias did not move")

    async def wait_unloaded(self, deadline_s: float) -> None:
        """Wait until no replica holds a version. Raises TimeoutError."""

        async def empty() -> bool:
            return not await self.resident()

        await _wait(empty, deadline_s, "the version was not unloaded")

    async def swap(self, tenant_id: str, version: str) -> dict[str, Any]:
        path = f"tenants/{tenant_id}/adapters/default/aliases/stable"
        done: dict[str, Any] = await self.call("PUT", path, {"version": version})
        return done

    async def rollback(self, tenant_id: str) -> dict[str, Any]:
        done: dict[str, Any] = await self.call("POST", f"tenants/{tenant_id}/adapters/default/rollback")
        return done

    async def resident(self) -> set[str]:
        """Version ids that any replica holds."""
        found = await self.call("GET", "replicas")
        return {version for replica in found["data"] for version in replica["resident"]}

    def engine_pids(self) -> set[int]:
        """Process ids of the engine and everything it started, EngineCore included."""
        engine = psutil.Process(self._engine_pid)
        return {engine.pid, *(child.pid for child in engine.children(recursive=True))}


async def _wait(condition: Callable[[], Awaitable[bool]], deadline_s: float, otherwise: str) -> None:
    until = time.monotonic() + deadline_s
    while True:
        if await condition():
            return
        if time.monotonic() > until:
            raise TimeoutError(f"{otherwise} within {deadline_s:.0f} s")
        await asyncio.sleep(POLL_SECONDS)
