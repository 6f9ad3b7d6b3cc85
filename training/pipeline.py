"""One run from corrections to a judged version: dataset, training, artifact, registration, loading, gate.

Every phase can be done again: an interrupted run starts over, and the version that it may have left behind is
rejected first.
"""

import asyncio
import contextlib
import shutil
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from adapters.artifacts import ArtifactStore
from adapters.base import BaseModel
from adapters.engine import Engine
from adapters.errors import AdaptersError
from adapters.loading import Loader
from adapters.registry import Registry
from adapters.types import Alias, Lineage, Version, VersionStatus
from adapters.validation import validate
from training.curriculum import Curriculum
from training.dataset import Dataset, Example, schedule, validation
from training.executor import Executor
from training.gating import Gate, GateResult
from training.lora import Progress, Row, Trained
from training.merging import MergePlan, merge_plan, merge_versions
from training.recipe import Recipe, recipe_of
from training.runs import RunStore
from training.types import LearningPolicy, Run, RunPhase, RunStatus, Verdict

_FINISHED = (VersionStatus.APPROVED, VersionStatus.CANARY, VersionStatus.STABLE)


@dataclass(frozen=True)
class Workshop:
    """What a run works with."""

    runs: RunStore
    registry: Registry
    store: ArtifactStore
    loader: Loader
    engines: Sequence[Engine]
    curriculum: Curriculum
    gate: Gate
    executor: Executor
    base: BaseModel
    runs_dir: Path
    max_rank: int


class RunWork:
    """One claimed run under way. `progress` is what training last reported; `cancel` stops training within a
    step."""

    def __init__(self, workshop: Workshop, run: Run, owner: str, policy: LearningPolicy) -> None:
        self._shop = workshop
        self._run = run
        self._owner = owner
        self._policy = policy
        self._stop = threading.Event()
        self._costs: dict[str, float] = {}
        self._version: Version | None = None
        self._merging: MergePlan | None = None
        self.progress: Progress | None = None

    def cancel(self) -> None:
        self._stop.set()

    async def work(self) -> tuple[RunStatus, str | None]:
        """Do the run; returns the status to finish it with, and a sentence when it did not succeed.

        A version that was registered and did not get through is rejected and unloaded, whatever happened.
        """
        if await self._left_behind():
            return RunStatus.SUCCEEDED, None
        directory = self._shop.runs_dir / self._run.id
        try:
            return await self._phases(directory)
        except BaseException:
            await self._discard()
            raise
        finally:
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)

    async def _phases(self, directory: Path) -> tuple[RunStatus, str | None]:
        self._merging = merge_plan(self._run.recipe, self._shop.max_rank)
        told = {} if self._merging else self._run.recipe
        recipe = recipe_of(self._policy.recipe, told, max_rank=self._shop.max_rank)
        async with self._phase(RunPhase.DATASET):
            dataset = await self._shop.curriculum.build(self._run.tenant_id, self._run.adapter, recipe)
            await self._note("dataset", dataset.counts(), dataset_digest=dataset.digest)
        async with self._phase(RunPhase.TRAINING):
            trained = await (
                self._merge(directory) if self._merging else self._train(dataset, recipe, directory)
            )
        async with self._phase(RunPhase.ARTIFACT):
            await asyncio.to_thread(validate, directory, self._shop.base, self._shop.max_rank)
            artifact = await self._shop.store.put(directory)
        async with self._phase(RunPhase.REGISTER):
            version = await self._register(artifact.digest, dataset, recipe, trained)
        async with self._phase(RunPhase.LOAD):
            await self._shop.loader.ensure(version)
        async with self._phase(RunPhase.GATE):
            result = await self._judge(dataset, version)
        return await self._conclude(result, version)

    async def _train(self, dataset: Dataset, recipe: Recipe, directory: Path) -> Trained:
        anchors = self._shop.curriculum.anchors_for(dataset)
        rows = await asyncio.to_thread(schedule, dataset, anchors, recipe)
        await asyncio.to_thread(directory.mkdir, parents=True, exist_ok=True)
        trained = await self._shop.executor.train(
            _rows(rows), _rows(validation(dataset)), recipe, directory, self._reported, self._stop.is_set
        )
        self._costs |= {"training_tokens": trained.tokens, "training_steps": trained.steps}
        await self._note("trained", asdict(trained), recipe=recipe.as_record())
        return trained

    async def _merge(self, directory: Path) -> Trained:
        """In the place of training: no step is taken and no token read."""
        assert self._merging is not None
        shop = self._shop
        try:
            merged, seconds = await merge_versions(
                self._merging, self._run.tenant_id, shop.registry, shop.store, shop.base, directory
            )
        finally:
            sources = directory.parent / f"{directory.name}-sources"
            await asyncio.to_thread(shutil.rmtree, sources, ignore_errors=True)
        await self._note("merged", asdict(merged))
        return Trained(steps=0, tokens=0, seconds=seconds, loss=0.0, validation_loss=None)

    def _reported(self, progress: Progress) -> None:
        self.progress = progress

    async def _register(self, digest: str, dataset: Dataset, recipe: Recipe, trained: Trained) -> Version:
        run, registry = self._run, self._shop.registry
        await registry.ensure_adapter(run.tenant_id, run.adapter, self._shop.base.digest)
        merging = self._merging
        lineage = Lineage(
            base_digest=self._shop.base.digest,
            recipe=dict(run.recipe) if merging else recipe.as_record(),
            dataset_digest=dataset.digest,
            parent_id=merging.parent_id if merging else None,
            run_id=run.id,
        )
        losses = {} if merging else {"loss": trained.loss, "validation_loss": trained.validation_loss}
        metrics = {**losses, **dataset.counts()}
        self._version = await registry.register(
            run.tenant_id, run.adapter, digest, lineage, metrics, status=VersionStatus.GATING
        )
        data = {"version": self._version.label, "artifact": digest}
        await self._note("registered", data, version_id=self._version.id)
        return self._version

    async def _judge(self, dataset: Dataset, version: Version) -> GateResult:
        run = self._run
        production, _ = await self._shop.registry.alias(run.tenant_id, run.adapter, Alias.STABLE)
        learned = await self._shop.runs.learned([production] if production else [])
        before = learned.get(production or "", frozenset())
        result = await self._shop.gate.judge(dataset, production, version.id, before, self._policy.gate)
        report = result.report() | {"production": production}
        says = {"verdict": result.verdict.value, "learned": len(result.learned)}
        says |= {check.name: check.says for check in result.checks}
        await self._note("judged", says, report=report)
        return result

    async def _conclude(self, result: GateResult, version: Version) -> tuple[RunStatus, str | None]:
        if result.verdict is Verdict.FAIL:
            await self._discard()
            return RunStatus.REJECTED, "the gate failed"
        await self._shop.runs.add_learned(version.id, result.learned)
        if result.verdict is Verdict.INCONCLUSIVE or self._policy.approval != "auto":
            return RunStatus.AWAITING_APPROVAL, None
        await self._shop.registry.set_status(version.id, VersionStatus.APPROVED)
        return RunStatus.SUCCEEDED, None

    async def _left_behind(self) -> bool:
        """Deal with the version of an earlier attempt; True when that attempt had in fact finished."""
        if self._run.version_id is None:
            return False
        version = await self._shop.registry.version(self._run.version_id)
        if version.status in _FINISHED:
            return True
        self._version = version
        await self._discard()
        self._version = None
        return False

    async def _discard(self) -> None:
        """Reject the version and take it out of the engines; the reconciler finishes what fails here."""
        if self._version is None:
            return
        with contextlib.suppress(AdaptersError):
            await self._shop.registry.set_status(self._version.id, VersionStatus.REJECTED)
        for engine in self._shop.engines:
            with contextlib.suppress(AdaptersError):
                await engine.unload(self._version.id)

    @contextlib.asynccontextmanager
    async def _phase(self, phase: RunPhase) -> AsyncIterator[None]:
        """Tell the record where the run is, and what the phase cost in wall seconds."""
        await self._note("phase", {"phase": phase.value}, phase=phase.value)
        started = time.monotonic()
        yield
        self._costs[f"{phase.value}_seconds"] = round(time.monotonic() - started, 3)
        await self._shop.runs.update(self._run.id, self._owner, costs=dict(self._costs))

    async def _note(self, kind: str, data: Mapping[str, Any], **changes: Any) -> None:
        await self._shop.runs.update(self._run.id, self._owner, **changes)
        await self._shop.runs.event(self._run.id, kind, data)


def _rows(examples: Sequence[Example]) -> list[Row]:
    return [Row(example.messages, example.answer) for example in examples]
