"""The system itself: who is alive, what was changed and what it served."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Path, Response
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from adapters import audit
from gateway.control import Control
from gateway.errors import NotFound
from gateway.routes import admin_documents as documents
from gateway.routes.admin_access import Access, Limit, Number
from gateway.routes.admin_documents import Document
from gateway.routes.admin_replicas import live_workers, worker
from gateway.routes.health import METRICS_TYPE
from training.tables import feedback, interactions
from training.types import SHADOW

router = APIRouter(tags=["system"])
public = APIRouter()


@public.get("/healthz")
async def healthz() -> Document:
    """The process answers; nothing else is looked at."""
    return {"status": "ok"}


@public.get("/metrics")
async def metrics(control: Access) -> Response:
    """For Prometheus, without a key; nothing of a tenant is in it."""
    return Response(await control.metrics.exposition(), media_type=METRICS_TYPE)


@router.get("/status")
async def status(control: Access) -> Document:
    """Every part that control talks to, each asked now."""
    engines, redis, sql, retrieval = await asyncio.gather(
        asyncio.gather(*(engine.healthy() for engine in control.engines)),
        _redis(control),
        _sql(control),
        control.retrieval.healthy(),
    )
    return {
        "leader": control.leadership.leading,
        "base_model": {"id": control.base.id, "digest": control.base.digest},
        "base_models": {name: {"id": b.id, "digest": b.digest} for name, b in control.bases.all.items()},
        "engines": {engine.url: healthy for engine, healthy in zip(control.engines, engines, strict=True)},
        "redis": redis,
        "sql": sql,
        "retrieval": retrieval,
        "workers": [worker(each) for each in await live_workers(control)],
    }


@router.get("/changes/{change}")
async def change(control: Access, change: Annotated[int, Path(ge=1, lt=2**63)]) -> Document:
    """Whether every live worker serves the record as it was at this position of its log of changes: what a swap or
    rollback that answered 202 is asked for until it does. 503 while that cannot be told."""
    if change > await control.registry.position():
        raise NotFound(f"There is no change {change} yet.", param="change")
    workers = await control.workers.everyone(change)
    behind = sum(each.change < change for each in workers)
    return {
        "id": change,
        "object": "change",
        "visible": not behind,
        "workers": len(workers),
        "behind": behind,
    }


@router.get("/audit")
async def list_audit(
    control: Access, tenant_id: str | None = None, after: Number | None = None, limit: Limit = 50
) -> Document:
    """Newest first."""
    owner = None if tenant_id is None else (await control.tenants.get(tenant_id)).id
    found = await audit.entries(control.sql, tenant_id=owner, after=after, limit=limit + 1)
    return documents.page(found, limit, documents.audit_entry)


@router.get("/stats")
async def stats(
    control: Access, tenant_id: str | None = None, after: str | None = None, limit: Limit = 50
) -> Document:
    """Traffic and feedback by tenant and version, as far as the journal has been drained: a page of tenants, by id,
    with those that have none."""
    if tenant_id is None:
        page = await control.tenants.list(after=after, limit=limit + 1)
    else:
        page = [await control.tenants.get(tenant_id)]
    ids = [tenant.id for tenant in page[:limit]]
    async with control.sql.connect() as connection:
        traffic = (await connection.execute(_traffic(ids))).mappings().all()
        said = (await connection.execute(_said(ids))).mappings().all()
    shown: dict[str, dict[str, Any]] = defaultdict(lambda: {"versions": [], "feedback": {}})
    for row in traffic:
        entry = {
            "adapter": row["adapter"],
            "version_id": row["version_id"],
            "requests": row["requests"],
            "failed": row["failed"],
            "mean_latency_ms": round(row["mean_latency_ms"] or 0.0, 1),
        }
        shown[row["tenant_id"]]["versions"].append(entry)
    for row in said:
        shown[row["tenant_id"]]["feedback"][row["status"]] = row["count"]
    return documents.page(
        page, limit, lambda each: {"id": each.id, "external_id": each.external_id, **shown[each.id]}
    )


def _traffic(tenant_ids: Sequence[str]) -> sa.Select[Any]:
    group = (interactions.c.tenant_id, interactions.c.adapter, interactions.c.version_id)
    query = sa.select(
        *group,
        sa.func.count().label("requests"),
        sa.func.sum(sa.case((interactions.c.status >= 400, 1), else_=0)).label("failed"),
        sa.func.avg(interactions.c.latency_ms).label("mean_latency_ms"),
    )
    mine = interactions.c.tenant_id.in_(tenant_ids)
    return query.where(mine, interactions.c.arm != SHADOW).group_by(*group)


def _said(tenant_ids: Sequence[str]) -> sa.Select[Any]:
    group = (feedback.c.tenant_id, feedback.c.status)
    query = sa.select(*group, sa.func.count().label("count")).where(feedback.c.tenant_id.in_(tenant_ids))
    return query.group_by(*group)


async def _redis(control: Control) -> bool:
    try:
        return bool(await control.redis.ping())
    except (RedisError, OSError):
        return False


async def _sql(control: Control) -> bool:
    try:
        async with control.sql.connect() as connection:
            await connection.execute(sa.text("SELECT 1"))
    except (SQLAlchemyError, OSError):
        return False
    return True
