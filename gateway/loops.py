"""What control's leader does by itself, over and over."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta

from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from adapters import audit, changes
from adapters.audit import Act
from adapters.errors import AdaptersError, WorkersUnseen
from adapters.reconcile import Repairs
from adapters.tasks import end
from gateway.control import Control
from gateway.idempotency import Writes
from gateway.leases import DEMAND_CHANNEL
from gateway.response_store import ResponseStore
from gateway.rollouts import Rollouts
from gateway.run_notices import RunNotices
from training.retention import forget_interactions, forget_progress

log = logging.getLogger(__name__)

RENEW_EVERY_S = 1.0
ROLLOUT_EVERY_S = 0.2
CANARY_EVERY_S = 1.0
WEBHOOK_EVERY_S = 1.0
RECONCILE_EVERY_S = 1.0
OUTBOX_EVERY_S = 1.0
BASES_EVERY_S = 1.0
PRUNE_EVERY_S = 60.0


class Loops:
    """What control does by itself. Each loop is a task of its own, so that a long swap delays no repair."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._rollouts = Rollouts(control.registry, control.swapper, control.tenants, control.canaries)
        self._notices = RunNotices(control.sql, control.registry, control.tenants, control.runs)
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
            asyncio.create_task(self._every(OUTBOX_EVERY_S, self._notices.run_once), name="notices"),
            asyncio.create_task(self._every(OUTBOX_EVERY_S, self._control.delivery.run_once), name="outbox"),
            asyncio.create_task(self._every(PRUNE_EVERY_S, self._responses.prune), name="responses"),
            asyncio.create_task(self._every(PRUNE_EVERY_S, self._control.pruner.run_once), name="retention"),
            asyncio.create_task(self._every(PRUNE_EVERY_S, self._forget), name="journal"),
            asyncio.create_task(self._every(PRUNE_EVERY_S, self._writes.prune), name="writes"),
            asyncio.create_task(
                self._every(PRUNE_EVERY_S, self._control.feedback.name_questions), name="questions"
            ),
        ]
        try:
            yield
        finally:
            await end(*tasks)
            for each in (self._rollouts, self._control.canaries, self._control.reconciler):
                await each.close()
            await self._control.leadership.release()

    async def reconcile(self) -> Repairs:
        """One pass over the engines; what it did is audited, what it could not do is audited once."""
        workers = self._control.workers
        asked: Mapping[str, float] = {}
        waiting: Collection[str] | None = None
        with contextlib.suppress(RedisError, OSError):
            asked = await workers.asked()
        with contextlib.suppress(WorkersUnseen):
            waiting = [name for name, count in (await workers.leases()).items() if count]
        drained = await self._control.drains.urls()
        repairs = await self._control.reconciler.run_once(asked, waiting, drained)
        self._control.metrics.resident(repairs.residency)
        with contextlib.suppress(RedisError, OSError):
            await workers.tell_residency(repairs.residency, drained)
        for done in ("loaded", "unloaded", "pinned", "unpinned"):
            for repair in getattr(repairs, done):
                await self._note(f"engine.{done}", repair.version_id, {"engine": repair.engine})
        failures = {(repair.engine, repair.version_id): repair.error for repair in repairs.failed}
        for (engine, version_id), error in failures.items():
            if self._failures.get((engine, version_id)) != error:
                await self._note("engine.failed", version_id, {"engine": engine, "error": error})
        going_on = self._control.reconciler.loads_into
        unsettled = {pair: error for pair, error in self._failures.items() if going_on(pair[0])}
        self._failures = {**unsettled, **failures}
        return repairs

    async def _forget(self) -> None:
        sql, before = self._control.sql, datetime.now(UTC) - timedelta(days=self._control.journal_days)
        await forget_interactions(sql, before)
        await forget_progress(sql, before)
        async with sql.begin() as connection:
            await changes.prune(connection)

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
