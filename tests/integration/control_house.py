"""Control behind its admin API, over a real Redis, a real record and a real gateway worker that follows it.

Only the engine is the in-memory one: what it says does not matter here
(tests/integration/test_control_swap.py has the real one).
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from click.testing import Result
from fastapi import FastAPI

from adapters.testing import FakeEngine
from adapters.types import Lineage, Version, VersionStatus
from gateway.admin import create_app
from gateway.cli.output import CommandError
from gateway.control import Control
from gateway.snapshot import CurrentSnapshot

ADMIN_KEY = "gk-admin-secret"
Graft = Callable[..., Awaitable[Result]]
"""A command of the operator's."""


@asynccontextmanager
async def administered(
    assemble: Callable[[], AbstractAsyncContextManager[Control]], *, loops: bool = False
) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
    """The admin API (its `state.control` is what was assembled) and an authenticated client. loops: whether control
    does by itself what its leader does."""
    app = create_app(assemble, ADMIN_KEY, loops=loops)
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://control", headers=headers
        ) as admin,
    ):
        yield app, admin


@dataclass
class System:
    """`admin` is authenticated; `seen` is what the worker serves."""

    admin: httpx.AsyncClient
    control: Control
    engine: FakeEngine
    seen: CurrentSnapshot
    files: Path
    app: FastAPI

    async def call(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        response = await self.admin.request(method, f"/admin/v1/{path}", json=body)
        assert response.status_code == status, response.text
        return response.json()

    async def tenant(self, name: str = "acme") -> dict[str, Any]:
        found: dict[str, Any] = await self.call("POST", "tenants", {"external_id": name}, 201)
        return found

    async def version(
        self, tenant_id: str, status: VersionStatus = VersionStatus.APPROVED, **lineage_of: Any
    ) -> Version:
        artifact = await self.control.store.put(self.files)
        lineage = Lineage(self.control.base.digest, **lineage_of)
        made = await self.control.registry.register(tenant_id, "default", artifact.digest, lineage, {})
        await self.control.registry.set_status(made.id, status)
        return await self.control.registry.version(made.id)


def refused(result: Result) -> CommandError:
    assert isinstance(result.exception, CommandError), result.output
    return result.exception
