"""One run from corrections to a judged version: dataset, training, artifact, registration, loading, gate.

A run may be interrupted anywhere, by a kill too. What it had come to is in the record (dataset, version, report) and
in its checkpoint, and whoever takes it up goes on from there: the same dataset and recipe give the same artifact.
"""

import asyncio
import contextlib
import logging
import shutil
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from adapters.acts import actor_of
from adapters.errors import AdaptersError
from adapters.types import Alias, Lineage, Version, VersionStatus
from adapters.validation import validate
from retrieval.errors import RetrievalError
from training.dataset import Dataset, Example
from training.errors import LeaseLost, RunGivenUp, RunStopped, TrainingError, TrainingFailed
from training.lora import Row
from training.merging import MergePlan, merge_plan, merge_versions
from training.recipe import Recipe, recipe_of
from training.schedule import schedule, validation
from training.trouble import RETRY_SECONDS, outcome_of, understood
from training.types import LearningPolicy, Outcome, Run, RunPhase, RunStatus, Verdict
from training.watch import Progress
from training.workshop import Workshop, reject

EXPECTED = (TrainingError, AdaptersError, RetrievalError, SQLAlchemyError, RedisError, OSError)
"""What the world does to us; everything else is a fault of ours."""
GATE_FAILED = "the gate failed"
_WITHOUT_SUCCESS = (RunStatus.REJECTED, RunStatus.FAILED, RunStatus.CANCELLED)

_log = logging.getLogger(__name__)


class RunWork:
    """One claimed run under way. `progress` is what training last reported."""

    def __init__(self, workshop: Workshop, run: Run, owner: str, policy: LearningPolicy) -> None:
        self._shop = workshop
        self._run = run
        self._owner = owner
        self._policy = policy
        self._directory = workshop.runs_dir / run.id
        self._stop = threading.Event()
        self._paused = False
        self._training = False
        self._costs = dict(run.costs)
        self._task: asyncio.Task[Outcome] | None = None
        self.progress: Progress | None = None

    def start(self) -> "asyncio.Task[Outcome]":
        self._task = asyncio.create_task(self.work(), name=self._run.id)
        return self._task

    def cancel(self) -> None:
        """Stop for good, within seconds: a person has cancelled the run."""
        self._stop.set()
        if self._task is not None:
            self._task.cancel()

    def pause(self) -> None:
        """Stop so that the run can go on elsewhere: training ends its step and leaves a checkpoint."""
        self._paused = True
        self._stop.set()
        if self._task is not None and not self._training:
            self._task.cancel()

    async def work(self) -> Outcome:
        """Go through the phases that are still to be done. Raises LeaseLost.

        A run that is to go on later keeps what it has made. Of one that ended without success nothing is left:
        its version is rejected and unloaded, its files are removed.
        """
        outcome = await self._outcome()
        if outcome.status is RunStatus.QUEUED:
            return outcome
        if outcome.status in _WITHOUT_SUCCESS and not await self._dropped(outcome):
            outcome = Outcome(RunStatus.SUCCEEDED)
        await asyncio.to_thread(shutil.rmtree, self._directory, ignore_errors=True)
        return outcome

    async def _outcome(self) -> Outcome:
        try:
            return await self._phases()
        except LeaseLost:
            raise
        except (RunStopped, asyncio.CancelledError):
            if not self._stop.is_set():
                raise
            return Outcome(RunStatus.QUEUED if self._paused else RunStatus.CANCELLED)
        except Exception as problem:
            if not isinstance(understood(problem), EXPECTED):
                _log.exception("%s met a fault of ours", self._run.id)
            return outcome_of(problem, self._run.attempts)

    async def _phases(self) -> Outcome:
        """An attempt before this one may have come to any point: what it stored is taken up from there."""
        self._check_stop()
        version = await self._version()
        if version is not None:
            await self._shop.runs.update(self._run.id, self._owner, version_id=version.id)
            if version.status is not VersionStatus.GATING:
                return self._ended_before(version)
            if self._run.report:
                return await self._conclude(self._run.report, version)
        if self._run.attempts > len(RETRY_SECONDS):
            raise RunGivenUp(
                f"interrupted {self._run.attempts} times, the last time in phase {self._run.phase}; a "
                "learner that dies says nothing: it may have been killed, also for lack of memory"
            )
        dataset = await self._stored_dataset()
        if version is None:
            dataset, version = await self._make(dataset)
        elif dataset is None:
            raise TrainingFailed("the dataset that this run was to be judged by is gone")
        return await self._conclude(await self._gated(dataset, version), version)

    def _ended_before(self, version: Version) -> Outcome:
        """What remained was to say so."""
        if version.status is not VersionStatus.REJECTED:
            return Outcome(RunStatus.SUCCEEDED)
        if self._run.report.get("verdict") == Verdict.FAIL:
            return Outcome(RunStatus.REJECTED, GATE_FAILED)
        return Outcome(RunStatus.FAILED, "interrupted while it was being ended")

    async def _stored_dataset(self) -> Dataset | None:
        if self._run.dataset_digest is None:
            return None
        return await self._shop.curriculum.stored(self._run.tenant_id, self._run.dataset_digest)

    async def _make(self, dataset: Dataset | None) -> tuple[Dataset, Version]:
        merging = merge_plan(self._run.recipe, self._shop.max_rank)
        told = {} if merging else self._run.recipe
        recipe = recipe_of(self._policy.recipe, told, max_rank=self._shop.max_rank)
        record = dict(self._run.recipe) if merging else recipe.as_record()
        if merging is None:
            await self._shop.executor.check(recipe)
        if dataset is None:
            async with self._phase(RunPhase.DATASET):
                dataset = await self._shop.curriculum.build(
                    self._run.tenant_id, self._run.adapter, recipe, self._policy.screening, merging is None
                )
                frozen = {"dataset_digest": dataset.digest, "recipe": record}
                await self._note("dataset", dataset.counts(), **frozen)
        adapter = self._directory / "adapter"
        async with self._phase(RunPhase.TRAINING):
            metrics = await (
                self._merge(merging, adapter) if merging else self._train(dataset, recipe, adapter)
            )
        async with self._phase(RunPhase.ARTIFACT):
            await asyncio.to_thread(validate, adapter, self._shop.base, self._shop.max_rank)
            artifact = await self._shop.store.put(adapter)
        async with self._phase(RunPhase.REGISTER):
            parent = merging.parent_id if merging else None
            lineage = Lineage(
                base_digest=self._shop.base.digest,
                recipe=record,
                dataset_digest=dataset.digest,
                parent_id=parent,
                run_id=self._run.id,
            )
            version = await self._register(artifact.digest, lineage, {**metrics, **dataset.counts()})
            # Again: until it was registered, retention may have deleted it.
            await self._shop.store.put(adapter)
            return dataset, version

    async def _gated(self, dataset: Dataset, version: Version) -> Mapping[str, Any]:
        async with self._phase(RunPhase.LOAD):
            await self._shop.loader.ensure(version)
        async with self._phase(RunPhase.GATE):
            return await self._judge(dataset, version)

    async def _train(self, dataset: Dataset, recipe: Recipe, directory: Path) -> Mapping[str, Any]:
        """Writes the adapter; returns its losses."""
        anchors = self._shop.curriculum.anchors_for(dataset)
        rows = await asyncio.to_thread(schedule, dataset, anchors, recipe)
        await asyncio.to_thread(directory.mkdir, parents=True, exist_ok=True)
        self._training = True
        try:
            trained = await self._shop.executor.train(
                _rows(rows),
                _rows(validation(dataset)),
                recipe,
                directory,
                self._reported,
                self._stop.is_set,
                self._directory / "checkpoint.safetensors",
            )
        finally:
            self._training = False
        self._costs |= {"training_tokens": trained.tokens, "training_steps": trained.steps}
        await self._note("trained", asdict(trained))
        return {"loss": trained.loss, "validation_loss": trained.validation_loss}

    async def _merge(self, plan: MergePlan, directory: Path) -> Mapping[str, Any]:
        """In the place of training: no step is taken and no token read."""
        shop = self._shop
        merged = await merge_versions(
            plan, self._run.tenant_id, shop.registry, shop.store, shop.base, directory
        )
        await self._note("merged", asdict(merged))
        return {}

    def _reported(self, progress: Progress) -> None:
        self.progress = progress

    async def _register(self, digest: str, lineage: Lineage, metrics: Mapping[str, Any]) -> Version:
        run, registry = self._run, self._shop.registry
        actor = actor_of(run.id)
        await registry.ensure_adapter(run.tenant_id, run.adapter, self._shop.base.digest, actor)
        version = await registry.register(
            run.tenant_id, run.adapter, digest, lineage, metrics, status=VersionStatus.GATING
        )
        await self._note("registered", {"version": version.label, "artifact": digest}, version_id=version.id)
        return version

    async def _judge(self, dataset: Dataset, version: Version) -> Mapping[str, Any]:
        run = self._run
        production, _ = await self._shop.registry.alias(run.tenant_id, run.adapter, Alias.STABLE)
        learned = await self._shop.runs.learned([production] if production else [])
        before = learned.get(production or "", frozenset())
        result = await self._shop.gate.judge(dataset, production, version.id, before, self._policy.gate)
        report = result.report() | {"production": production}
        says = {"verdict": result.verdict.value, "learned": len(result.learned)}
        says |= {check.name: check.says for check in result.checks}
        await self._note("judged", says, report=report)
        return report

    async def _conclude(self, report: Mapping[str, Any], version: Version) -> Outcome:
        verdict = Verdict(report["verdict"])
        if verdict is Verdict.FAIL:
            return Outcome(RunStatus.REJECTED, GATE_FAILED)
        await self._shop.runs.add_learned(version.id, report["learned"])
        policy = await self._shop.policy(self._run.tenant_id)  # it may have changed since the claim
        if verdict is Verdict.INCONCLUSIVE or policy.approval != "auto":
            return Outcome(RunStatus.AWAITING_APPROVAL)
        return Outcome(RunStatus.SUCCEEDED, approves=version.id)

    async def _dropped(self, outcome: Outcome) -> bool:
        """Reject what the run registered; False when that went live before."""
        version = await self._version()
        return version is None or await reject(self._shop, version, outcome.error or outcome.status.value)

    async def _version(self) -> Version | None:
        run = self._run
        return await self._shop.registry.version_of_run(run.tenant_id, run.adapter, run.id)

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise RunStopped("stopped between two phases")

    @contextlib.asynccontextmanager
    async def _phase(self, phase: RunPhase) -> AsyncIterator[None]:
        """Tell the record where the run is, and what the phase cost in wall seconds."""
        self._check_stop()
        await self._note("phase", {"phase": phase.value}, phase=phase.value)
        started = time.monotonic()
        yield
        name = f"{phase.value}_seconds"
        self._costs[name] = round(self._costs.get(name, 0.0) + time.monotonic() - started, 3)
        await self._shop.runs.update(self._run.id, self._owner, costs=dict(self._costs))

    async def _note(self, kind: str, data: Mapping[str, Any], **changes: Any) -> None:
        await self._shop.runs.update(self._run.id, self._owner, **changes)
        await self._shop.runs.event(self._run.id, kind, data)


def _rows(examples: Sequence[Example]) -> list[Row]:
    return [Row(example.messages, example.answer, example.tools) for example in examples]
