"""Tells a tenant's webhook which runs did not go live by themselves."""

import logging
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.registry import Registry
from gateway.errors import GatewayError
from gateway.tenants import TenantStore
from gateway.webhooks import enqueue
from training.outbox import RUN_STOPPED, Outbox, OutboxStep, settle
from training.runs import RunStore
from training.types import Run

log = logging.getLogger(__name__)


class RunNotices:
    """`run_once` is one pass of control's leader."""

    def __init__(self, engine: AsyncEngine, registry: Registry, tenants: TenantStore, runs: RunStore) -> None:
        self._engine = engine
        self._registry = registry
        self._tenants = tenants
        self._runs = runs
        self._outbox = Outbox(engine)

    async def run_once(self) -> int:
        """Make a webhook's call of each notice that is owed; returns how many. One transaction takes the notice and
        adds the call, so that what is told is told once."""
        steps = await self._outbox.pending([RUN_STOPPED], min_age_s=0.0)
        return sum([await self._tell(step) for step in steps])

    async def _tell(self, step: OutboxStep) -> bool:
        run = await self._runs.get(step.subject)
        url = await self._webhook(run.tenant_id)
        data = await self._told(run, step.payload)
        async with self._engine.begin() as connection:
            mine = await settle(connection, step)
            if mine and url:
                await enqueue(connection, run.tenant_id, url, f"run.{step.payload['status']}", data)
        return mine and url is not None

    async def _webhook(self, tenant_id: str) -> str | None:
        try:
            return (await self._tenants.policy(tenant_id)).policy.rollout.webhook
        except (GatewayError, ValidationError) as error:
            log.error("the policy of %s cannot be read: %s", tenant_id, error)
            return None

    async def _told(self, run: Run, payload: Mapping[str, Any]) -> dict[str, Any]:
        """What a webhook gets."""
        version = await self._registry.version(run.version_id) if run.version_id else None
        checks = run.report.get("checks", [])
        return {
            "run_id": run.id,
            "tenant_id": run.tenant_id,
            "adapter": run.adapter,
            "version": version and version.label,
            "version_id": run.version_id,
            "status": payload["status"],
            "reason": payload["reason"],
            "verdict": run.report.get("verdict"),
            "checks": [{name: check[name] for name in ("name", "verdict", "says")} for check in checks],
        }
