"""Control's collaborators, put together once."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.artifacts import ArtifactStore
from adapters.base import BaseModel, describe_base
from adapters.bases import Bases
from adapters.database import connect
from adapters.drains import Drains
from adapters.engine import Engine
from adapters.errors import AdaptersError
from adapters.holds import Holds
from adapters.importing import Importer
from adapters.measuring import Measurer
from adapters.own_slots import own_slots
from adapters.reconcile import Reconciler
from adapters.registry import Registry
from adapters.settings import Settings as AdaptersSettings
from adapters.slots import Slots
from adapters.sources import Sources
from adapters.swap import Checks, Swapper
from adapters.types import BASE_NAME, DEFAULT_ADAPTER, Adapter, Check
from adapters.vllm import VllmEngine
from adapters.wants import Wants
from gateway.authorities import trusted
from gateway.canaries import Canaries
from gateway.control_metrics import ControlMetrics
from gateway.explainer import Explainer
from gateway.leader import Leadership
from gateway.outbox import Delivery
from gateway.pruning import Pruner
from gateway.redis_client import connected
from gateway.rollout_moves import RolloutMoves
from gateway.settings import Settings
from gateway.shadow_counts import ShadowCounts
from gateway.tenants import Tenant, TenantStore
from gateway.version_notices import tell_rolled_back
from gateway.webhooks import Webhooks, own_client
from gateway.workers import RedisWorkers
from retrieval.client import RetrievalClient
from training.feedback import FeedbackStore
from training.journal import Interactions
from training.outbox import Outbox
from training.runs import RunStore
from training.settings import Settings as TrainingSettings

VISIBLE_WITHIN_S = 1.0
"""How long an admin write waits for the workers to have it, before it answers anyway."""


@dataclass(frozen=True)
class Control:
    """What the admin API and the loops work with."""

    base: BaseModel
    """The first one, which a new tenant's default adapter belongs to."""
    bases: Bases
    sql: AsyncEngine
    redis: Redis
    registry: Registry
    wants: Wants
    store: ArtifactStore
    engines: tuple[Engine, ...]
    workers: RedisWorkers
    swapper: Swapper
    drains: Drains
    holds: Holds
    reconciler: Reconciler
    tenants: TenantStore
    runs: RunStore
    feedback: FeedbackStore
    explainer: Explainer
    delivery: Delivery
    retrieval: RetrievalClient
    leadership: Leadership
    importer: Importer
    measurer: Measurer
    pruner: Pruner
    anchors: Path
    """Of the first base model."""
    canaries: Canaries
    webhooks: Webhooks
    cache_dir: Path
    max_lora_rank: int
    journal_days: float
    metrics: ControlMetrics

    async def settle(self, change: int) -> None:
        """After a write: tell the workers, and wait a moment until they have it. Never fails the write."""
        if not change:
            return
        with contextlib.suppress(AdaptersError):
            await self.workers.announce(change)
            await self.workers.wait_for(change, VISIBLE_WITHIN_S)

    async def upsert_tenant(self, external_id: str, name: str | None, actor: str) -> tuple[Tenant, bool]:
        """A tenant with its default adapter; a call that broke off in between is mended by repeating it."""
        tenant, created, change = await self.tenants.upsert(external_id, name, actor)
        await self.add_adapter(tenant.id, DEFAULT_ADAPTER, self.base, actor)
        await self.settle(await self.registry.position() if created else change)
        return tenant, created

    async def add_adapter(self, tenant_id: str, name: str, base: BaseModel, actor: str) -> Adapter:
        """The adapter of this name, whose base model workers know the name of. Raises WrongBase."""
        await self.bases.publish()
        return await self.registry.ensure_adapter(tenant_id, name, base.digest, actor)

    def anchors_of(self, base: BaseModel) -> Path:
        """A base model's own answers, as JSON lines; the file may be missing."""
        return self.anchors if base is self.base else base.path / self.anchors.name


@contextlib.asynccontextmanager
async def assembled(settings: Settings, adapters: AdaptersSettings) -> AsyncIterator[Control]:
    """Everything connected lazily: control starts, and says what is missing, while others are down. Raises
    LaunchError."""
    found = {name: await asyncio.to_thread(describe_base, path) for name, path in adapters.base_paths.items()}
    token = settings.internal_token.get_secret_value()
    sql = connect(settings.database)
    redis = connected(settings.redis)
    urls = [url for pool in settings.pools.values() for url in pool]
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(sql.dispose)
        stack.push_async_callback(redis.aclose)
        http = await stack.enter_async_context(httpx.AsyncClient(trust_env=False, verify=trusted()))
        hooks = await stack.enter_async_context(own_client(trusted()))
        retrieval = await stack.enter_async_context(RetrievalClient(settings.retrieval, token))
        slots = await stack.enter_async_context(own_slots(redis, urls, settings.max_loras))
        engines = _engines(settings, found, http, slots)
        yield _control(settings, adapters, found, sql, redis, http, hooks, retrieval, engines)


def _control(
    settings: Settings,
    adapters: AdaptersSettings,
    found: Mapping[str, BaseModel],
    sql: AsyncEngine,
    redis: Redis,
    http: httpx.AsyncClient,
    hooks: httpx.AsyncClient,
    retrieval: RetrievalClient,
    engines: tuple[Engine, ...],
) -> Control:
    registry, wants, drains = Registry(sql, tell_rolled_back), Wants(sql), Drains(sql)
    store = ArtifactStore(adapters.artifact_store)
    workers, holds = RedisWorkers(redis), Holds()
    tenants, runs, feedback = TenantStore(sql), RunStore(sql), FeedbackStore(sql, settings.tool_parser)
    token = settings.internal_token.get_secret_value()
    known = registry, wants, store, engines, workers, holds, adapters.cache_dir
    reconciler = Reconciler(*known, capacity=adapters.max_cpu_loras, copies=adapters.copies)
    metrics = ControlMetrics(sql)
    swapper = Swapper(
        registry,
        store,
        engines,
        workers,
        adapters.cache_dir,
        holds,
        reconciler.placing,
        _checks_of(tenants),
        drained=drains.urls,
        swapped=metrics.swapped,
    )
    return Control(
        base=found[BASE_NAME],
        bases=Bases(sql, found),
        sql=sql,
        redis=redis,
        registry=registry,
        wants=wants,
        store=store,
        engines=engines,
        workers=workers,
        swapper=swapper,
        drains=drains,
        holds=holds,
        reconciler=reconciler,
        tenants=tenants,
        runs=runs,
        feedback=feedback,
        explainer=Explainer(Interactions(redis, sql), registry, runs, feedback),
        delivery=Delivery(Outbox(sql), feedback, retrieval),
        retrieval=retrieval,
        leadership=Leadership(redis),
        importer=_importer(adapters, registry, store, http),
        measurer=Measurer(store, adapters.cache_dir.parent / "compared"),
        pruner=Pruner(sql, store, engines, workers, tenants, adapters.cache_dir),
        anchors=TrainingSettings(base_model=adapters.base_model).anchors,
        canaries=Canaries(sql, registry, swapper, workers, RolloutMoves(sql, tenants), ShadowCounts(redis)),
        webhooks=Webhooks(sql, hooks, token, private=settings.webhook_private_hosts),
        cache_dir=adapters.cache_dir,
        max_lora_rank=adapters.max_lora_rank,
        journal_days=settings.journal_days,
        metrics=metrics,
    )


def _checks_of(tenants: TenantStore) -> Checks:
    async def checks(tenant_id: str, adapter: str) -> Sequence[Check]:
        return (await tenants.policy(tenant_id)).rollout().checks_of(adapter)

    return checks


def _engines(
    settings: Settings, found: Mapping[str, BaseModel], http: httpx.AsyncClient, slots: Slots
) -> tuple[VllmEngine, ...]:
    """All replicas of all base models."""
    return tuple(
        VllmEngine(url, settings.engine_key, http, found[name].digest, slots)
        for name, urls in settings.pools.items()
        for url in urls
    )


def _importer(
    adapters: AdaptersSettings,
    registry: Registry,
    store: ArtifactStore,
    http: httpx.AsyncClient,
) -> Importer:
    return Importer(
        registry,
        store,
        Sources(
            http,
            adapters.import_places,
            private=adapters.import_private_hosts,
            seconds=adapters.import_seconds,
        ),
        adapters.cache_dir.parent / "imports",
        max_rank=adapters.max_lora_rank,
        max_bytes=adapters.import_max_bytes,
        max_seconds=adapters.import_seconds,
    )
