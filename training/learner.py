"""The learner process: drains the journal, fires triggers, works on one run at a time.

Usage: python -m training.learner
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from functools import partial

import httpx
from redis.asyncio import Redis
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.artifacts import ArtifactStore
from adapters.base import BaseModel, describe_base
from adapters.database import connect
from adapters.drains import Drains
from adapters.loading import Loader
from adapters.own_slots import own_slots
from adapters.registry import Registry
from adapters.slots import Slots
from adapters.tasks import end
from adapters.vllm import VllmEngine
from retrieval.client import RetrievalClient
from training.curriculum import Curriculum, read_anchors, read_probes
from training.errors import DoesNotFit, LeaseLost, RunConflict
from training.evaluate import Asker
from training.executor import LocalExecutor
from training.gating import Gate
from training.journal_drain import JournalDrain
from training.oom import oom_kills
from training.pipeline import EXPECTED, RunWork
from training.policies import read_policies, read_policy
from training.record import read_counters
from training.rewrites import Teacher
from training.rows import now
from training.runs import RunStore
from training.settings import Settings
from training.triggers import decide
from training.trouble import bury
from training.types import LEARNER_KEY, LEARNER_OF, LearningPolicy, Outcome, Run, RunStatus
from training.workshop import Workshop, tidy

TRIGGER_SECONDS = 0.5
CLAIM_SECONDS = 0.5
TIDY_SECONDS = 5.0
HEARTBEAT_SECONDS = 1.0
LEASE_SECONDS = 10.0
"""How long a run stands still when its learner was killed."""
PRESENCE_SECONDS = 6.0
_RETRY_SECONDS = 2.0
MAX_OWNER = 64
"""Characters of a learner's name in the record; the end of a long host's name tells it from others."""

_log = logging.getLogger("training.learner")


class Learner:
    """The loops. `run` ends when its task is cancelled: a run under way goes back to the queue."""

    def __init__(
        self, engine: AsyncEngine, redis: Redis, drain: JournalDrain, workshop: Workshop, owner: str
    ) -> None:
        self._engine = engine
        self._redis = redis
        self._prepared = False
        self._drain = drain
        self._shop = workshop
        self._owner = owner

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._forever(self._present, PRESENCE_SECONDS / 3), name="presence")
            group.create_task(self._forever(self._journal, 0.0), name="journal")
            group.create_task(self._forever(self.fire, TRIGGER_SECONDS), name="triggers")
            group.create_task(self._forever(self.tidy, TIDY_SECONDS), name="tidying")
            group.create_task(self._forever(self.work_once, CLAIM_SECONDS), name="runs")

    async def _forever(self, step: Callable[[], Awaitable[object]], pause: float) -> None:
        while True:
            try:
                await step()
                await asyncio.sleep(pause)
            except DoesNotFit:
                raise  # the base model itself: without it there is nothing to do here
            except EXPECTED as error:
                _log.warning("%s: %s", step.__name__, error)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _present(self) -> None:
        """Say that this learner could start a run now."""
        await self._shop.executor.warm()
        if not self._prepared:
            await self._shop.gate.prepare()
            self._prepared = True
        for key in (LEARNER_KEY, LEARNER_OF.format(digest=self._shop.base.digest)):
            await self._redis.set(key, self._owner, px=int(PRESENCE_SECONDS * 1000))

    async def _journal(self) -> None:
        await self._drain.drain(block_ms=1000)

    async def tidy(self) -> None:
        """Remove what is left of runs that have ended."""
        await tidy(self._shop)

    async def fire(self) -> None:
        """Queue the runs of this base model's adapters whose trigger fires now."""
        policies = await read_policies(self._engine)
        for counters in await read_counters(self._engine, self._shop.base.digest):
            policy = policies.get(counters.tenant_id, LearningPolicy())
            trigger = decide(policy.triggers, counters, now())
            if trigger is not None:
                with contextlib.suppress(RunConflict):
                    await self._shop.runs.create(counters.tenant_id, counters.adapter, trigger)

    async def work_once(self) -> bool:
        """Take one run, if there is one, and finish it or give it back."""
        runs, kills = self._shop.runs, oom_kills()
        await bury(runs, self._shop.registry, kills)
        noted = {"oom_kills": asdict(kills)} if kills else {}
        run = await runs.claim(self._owner, LEASE_SECONDS, self._shop.base.digest, **noted)
        if run is None:
            return False
        work = RunWork(self._shop, run, self._owner, await self._shop.policy(run.tenant_id))
        task = work.start()
        heart = asyncio.create_task(self._beat(run, work, task))
        try:
            await self._settle(run, await asyncio.shield(task))
        except LeaseLost:
            _log.warning("%s is no longer this learner's", run.id)
        except asyncio.CancelledError:
            work.pause()
            await asyncio.wait([task])
            with contextlib.suppress(*EXPECTED):  # else the lease runs out by itself
                await self._settle(run, Outcome(RunStatus.QUEUED) if task.cancelled() else task.result())
            raise
        finally:
            await end(heart)  # one that is cut off while it writes must be done with its connection
        return True

    async def _settle(self, run: Run, outcome: Outcome) -> None:
        says = f": {outcome.error}" if outcome.error else ""
        _log.info("%s %s%s", run.id, outcome.status.value, says)
        if outcome.status is RunStatus.QUEUED:
            await self._shop.runs.release(run.id, self._owner, outcome.error, outcome.retry_s)
        elif outcome.status is not RunStatus.CANCELLED:  # which whoever cancelled it has written
            await self._shop.runs.finish(run.id, self._owner, outcome.status, outcome.error, outcome.approves)

    async def _beat(self, run: Run, work: RunWork, task: "asyncio.Task[object]") -> None:
        """Keep the lease, pass on progress, and stop the run when somebody has cancelled it or taken it over."""
        told = None
        while not task.done():
            await asyncio.sleep(HEARTBEAT_SECONDS)
            try:
                if await self._shop.runs.renew(run.id, self._owner, LEASE_SECONDS):
                    work.cancel()
                    return
                if work.progress is not None and work.progress != told:
                    told = work.progress
                    with contextlib.suppress(LeaseLost):  # the next heartbeat finds out why
                        await self._shop.runs.update(run.id, self._owner, progress=asdict(told))
                        await self._shop.runs.event(run.id, "progress", asdict(told))
            except LeaseLost:
                work.pause()
                return
            except SQLAlchemyError as error:
                _log.warning("heartbeat of %s: %s", run.id, error)


async def assemble(
    settings: Settings,
    engine: AsyncEngine,
    redis: Redis,
    http: httpx.AsyncClient,
    retrieval: RetrievalClient,
    slots: Slots,
) -> Learner:
    """The learner's parts from its settings."""
    base: BaseModel = await asyncio.to_thread(describe_base, settings.base_path)
    engines = [VllmEngine(url, settings.engine_key, http, base.digest, slots) for url in settings.engines]
    store = ArtifactStore(settings.artifact_store)
    loader = Loader(store, engines, settings.cache_dir, Drains(engine).urls)
    asker = Asker(engines, partial(loader.healthy, base.digest))
    teacher = Teacher(asker, retrieval)
    owner = f"{socket.gethostname()}:{os.getpid()}"[-MAX_OWNER:]
    workshop = Workshop(
        runs=RunStore(engine),
        registry=Registry(engine),
        store=store,
        loader=loader,
        engines=engines,
        curriculum=Curriculum(engine, asker, teacher, read_anchors(settings.anchors)),
        gate=Gate(asker, retrieval, read_probes(settings.probes)),
        executor=LocalExecutor(
            base, settings.learner_threads, settings.learner_dtype, settings.learner_gpu_share
        ),
        base=base,
        runs_dir=settings.runs_dir,
        max_rank=settings.max_lora_rank,
        policy=partial(read_policy, engine),
    )
    return Learner(engine, redis, JournalDrain(redis, engine, owner), workshop, owner)


async def until_told(learner: Learner) -> None:
    """Run until SIGTERM or SIGINT."""
    task = asyncio.create_task(learner.run())
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, task.cancel)
    _log.info("ready")
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def main() -> None:
    """The learner of the settings."""
    settings = Settings()
    engine = connect(settings.database)
    redis = Redis.from_url(settings.redis)
    token = settings.internal_token.get_secret_value()
    async with (
        httpx.AsyncClient() as http,
        RetrievalClient(settings.retrieval, token) as retrieval,
        own_slots(redis, settings.engines, settings.max_loras) as slots,
    ):
        await until_told(await assemble(settings, engine, redis, http, retrieval, slots))
    await redis.aclose()
    await engine.dispose()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    asyncio.run(main())
