"""Control's collaborators, put together once, and the loops that its leader runs."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.artifacts import ArtifactStore
from adapters.base import BaseModel, describe_base
from adapters.bases import Bases
from adapters.engine import Engine
from adapters.errors import AdaptersError
from adapters.importing import Importer
from adapters.reconcile import Reconciler, Repairs
from adapters.registry import Registry
from adapters.settings import Settings as AdaptersSettings
from adapters.sources import Sources
from adapters.swap import Holds, Swapper
from adapters.types import BASE_NAME, DEFAULT_ADAPTER, Adapter
from adapters.vllm import VllmEngine
from adapters.wants import Wants
from gateway import audit
from gateway.audit import Act
from gateway.canaries import Canaries
from gateway.database import connect
from gateway.idempotency import Writes
from gateway.leader import Leadership
from gateway.leases import DEMAND_CHANNEL
from gateway.outbox import Delivery
from gateway.pruning import Pruner
from gateway.response_store import ResponseStore
from gateway.rollout_moves import RolloutMoves
from gateway.rollouts import Rollouts
from gateway.settings import Settings
from gateway.tasks import end
from gateway.tenants import Tenant, TenantStore
from gateway.webhooks import Webhooks
from gateway.workers import RedisWorkers
from retrieval.client import RetrievalClient
from training.feedback import FeedbackStore
from training.outbox import Outbox
from training.retention import forget_interactions
from training.runs import RunStore
from training.settings import Settings as TrainingSettings

log = logging.getLogger(__name__)

VISIBLE_WITHIN_S = 1.0
"""How long an admin write waits for the workers to have it, before it answers anyway."""
RENEW_EVERY_S = 1.0
ROLLOUT_EVERY_S = 0.2
CANARY_EVERY_S = 1.0
WEBHOOK_EVERY_S = 1.0
RECONCILE_EVERY_S = 1.0
OUTBOX_EVERY_S = 1.0
BASES_EVERY_S = 1.0
PRUNE_EVERY_S = 60.0


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
    holds: Holds
    reconciler: Reconciler
    tenants: TenantStore
    runs: RunStore
    feedback: FeedbackStore
    delivery: Delivery
    retrieval: RetrievalClient
    leadership: Leadership
    importer: Importer
    pruner: Pruner
    anchors: Path
    """Of the first base model."""
    canaries: Canaries
    webhooks: Webhooks
    cache_dir: Path
    max_lora_rank: int
    journal_days: float

    async def settle(self, change: int) -> None:
        """After a write: tell the workers, and wait a moment until they have it. Never fails the write."""
        if not change:
            return
        with contextlib.suppress(AdaptersError):
            await self.workers.announce(change)
            await self.workers.wait_for(change, VISIBLE_WITHIN_S)

    async def upsert_tenant(self, external_id: str, name: str, actor: str) -> tuple[Tenant, bool]:
        """A tenant with its default adapter; a call that broke off in between is mended by repeating it."""
        tenant, created, change = await self.tenants.upsert(external_id, name, actor)
        await self.add_adapter(tenant.id, DEFAULT_ADAPTER, self.base)
        await self.settle(await self.registry.position() if created else change)
        return tenant, created

    async def add_adapter(self, tenant_id: str, name: str, base: BaseModel) -> Adapter:
        """The adapter of this name, whose base model workers know the name of. Raises WrongBase."""
        await self.bases.publish()
        return await self.registry.ensure_adapter(tenant_id, name, base.digest)

    def anchors_of(self, base: BaseModel) -> Path:
        """A base model's own answers, as JSON lines; the file may be missing."""
        return self.anchors if base is self.base else base.path / self.anchors.name


@contextlib.asynccontextmanager
async def assembled(settings: Settings, adapters: AdaptersSettings) -> AsyncIterator[Control]:
    """Everything connected lazily: control starts, and says what is missing, while others are down."""
    found = {name: await asyncio.to_thread(describe_base, path) for name, path in adapters.base_paths.items()}
    token = settings.internal_token.get_secret_value()
    sql = connect(settings.database)
    redis: Redis = Redis.from_url(settings.redis)
    async with (
        httpx.AsyncClient(trust_env=False) as http,
        RetrievalClient(settings.retrieval, token) as retrieval,
    ):
        try:
            yield _control(settings, adapters, found, sql, redis, http, retrieval)
        finally:
            await redis.aclose()
            await sql.dispose()


def _control(
    settings: Settings,
    adapters: AdaptersSettings,
    found: Mapping[str, BaseModel],
    sql: AsyncEngine,
    redis: Redis,
    http: httpx.AsyncClient,
    retrieval: RetrievalClient,
) -> Control:
    registry, wants, store, workers, holds = (
        Registry(sql),
        Wants(sql),
        ArtifactStore(adapters.artifact_store),
        RedisWorkers(redis),
        Holds(),
    )
    engines = tuple(
        VllmEngine(url, settings.engine_key, http, found[name].digest)
        for name, urls in settings.pools.items()
        for url in urls
    )
    tenants, runs = TenantStore(sql), RunStore(sql)
    token = settings.internal_token.get_secret_value()
    swapper = Swapper(registry, store, engines, workers, adapters.cache_dir, holds)
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
        holds=holds,
        reconciler=Reconciler(
            registry,
            wants,
            store,
            engines,
            workers,
            holds,
            adapters.cache_dir,
            capacity=adapters.max_cpu_loras,
            copies=adapters.copies,
        ),
        tenants=tenants,
        runs=runs,
        feedback=FeedbackStore(sql),
        delivery=Delivery(Outbox(sql), retrieval),
        retrieval=retrieval,
        leadership=Leadership(redis),
        importer=_importer(adapters, registry, store, http),
        pruner=Pruner(sql, store, engines, workers, tenants, runs, adapters.cache_dir),
        anchors=TrainingSettings(base_model=adapters.base_model).anchors,
        canaries=Canaries(sql, registry, swapper, workers, RolloutMoves(sql, tenants)),
        webhooks=Webhooks(sql, http, token, private=settings.webhook_private_hosts),
        cache_dir=adapters.cache_dir,
        max_lora_rank=adapters.max_lora_rank,
        journal_days=settings.journal_days,
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
        Sources(http, adapters.import_places, private=adapters.import_private_hosts),
        adapters.cache_dir.parent / "imports",
        max_rank=adapters.max_lora_rank,
        max_bytes=adapters.import_max_bytes,
    )


class Loops:
    """What control does by itself. Each loop is a task of its own, so that a long swap delays no repair."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._rollouts = Rollouts(
            control.registry, control.swapper, control.sql, control.tenants, control.canaries
        )
        self._responses = ResponseStore(control.sql)
        self._writes = Writes(control.sql)
        self._failures: Mapping[tuple[str, str], str | None] = {}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The loops live inside the block."""
        tasks = [
            asyncio.create_task(self._lead(), name="leader"),
            asyncio.create_task(self._every(ROLLOUT_EVERY_S, self._rollouts.run_once), name="rollouts"),
            asyncio.create_task(self._reconciling(), name="reconciler"),
            asyncio.create_task(
                self._every(CANARY_EVERY_S, self._control.canaries.run_once), name="canaries"
            ),
            asyncio.create_task(
                self._every(WEBHOOK_EVERY_S, self._control.webhooks.run_once), name="webhooks"
            ),
            asyncio.create_task(self._every(BASES_EVERY_S, self._control.bases.publish), name="bases"),
            asyncio.create_task(self._every(OUTBOX_EVERY_S, self._control.delivery.run_once), name="outbox"),
            asyncio.create_task(self._every(PRUNE_EVERY_S, self._responses.prune), name="responses"),
            asyncio.create_task(self._every(PRUNE_EVERY_S, self._control.pruner.run_once), name="retention"),
            asyncio.create_task(self._every(PRUNE_EVERY_S, self._forget), name="journal"),
            asyncio.create_task(self._every(PRUNE_EVERY_S, self._writes.prune), name="writes"),
        ]
        try:
            yield
        finally:
            await end(*tasks)
            await self._control.leadership.release()

    async def reconcile(self) -> Repairs:
        """One pass over the engines; what it did is audited, what it could not do is audited once."""
        workers = self._control.workers
        asked: Mapping[str, float] = {}
        leases: Mapping[str, int] = {}
        with contextlib.suppress(RedisError, OSError):
            asked, leases = await workers.asked(), await workers.leases()
        repairs = await self._control.reconciler.run_once(asked, [name for name, n in leases.items() if n])
        with contextlib.suppress(RedisError, OSError):
            await workers.tell_residency(repairs.residency)
        for repair in repairs.loaded:
            await self._note("engine.loaded", repair.version_id, {"engine": repair.engine})
        for repair in repairs.unloaded:
            await self._note("engine.unloaded", repair.version_id, {"engine": repair.engine})
        failures = {(repair.engine, repair.version_id): repair.error for repair in repairs.failed}
        for (engine, version_id), error in failures.items():
            if self._failures.get((engine, version_id)) != error:
                await self._note("engine.failed", version_id, {"engine": engine, "error": error})
        self._failures = failures
        return repairs

    async def _forget(self) -> None:
        await forget_interactions(
            self._control.sql, datetime.now(UTC) - timedelta(days=self._control.journal_days)
        )

    async def _note(self, action: str, subject: str, detail: Mapping[str, object]) -> None:
        await audit.record_alone(self._control.sql, Act("system:reconciler", action, subject, None, detail))

    async def _lead(self) -> None:
        while True:
            await self._control.leadership.hold()
            await asyncio.sleep(RENEW_EVERY_S)

    async def _reconciling(self) -> None:
        """A pass every second, and at once when a version is asked for that no replica may hold: all that ask for it
        wait for the one pass that loads it."""
        while True:
            try:
                async with self._control.redis.pubsub() as channel:
                    await channel.subscribe(DEMAND_CHANNEL)
                    while True:
                        await self._step(self.reconcile)
                        await channel.get_message(ignore_subscribe_messages=True, timeout=RECONCILE_EVERY_S)
                        while await channel.get_message(ignore_subscribe_messages=True):
                            pass  # one pass answers all that asked meanwhile
            except (RedisError, OSError):
                await self._step(self.reconcile)
                await asyncio.sleep(RECONCILE_EVERY_S)

    async def _every(self, seconds: float, step: Callable[[], Awaitable[object]]) -> None:
        while True:
            await self._step(step)
            await asyncio.sleep(seconds)

    async def _step(self, step: Callable[[], Awaitable[object]]) -> None:
        """One that fails because something is down is tried again; a defect is logged and tried again."""
        if not self._control.leadership.leading:
            return
        try:
            await step()
        except (AdaptersError, RedisError, SQLAlchemyError, OSError) as error:
            log.warning("%s: %s", type(error).__name__, error)
        except Exception:
            log.exception("a step of control failed")
