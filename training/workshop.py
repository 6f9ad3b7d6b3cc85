"""What runs work with, and putting it in order after them."""

import asyncio
import contextlib
import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from adapters.acts import actor_of
from adapters.artifacts import ArtifactStore
from adapters.base import BaseModel
from adapters.engine import Engine
from adapters.errors import EngineError, IllegalTransition
from adapters.loading import Loader
from adapters.registry import Registry
from adapters.types import Version, VersionStatus
from training.curriculum import Curriculum
from training.errors import RunNotFound
from training.executor import Executor
from training.gating import Gate
from training.runs import OPEN, RunStore
from training.types import LearningPolicy


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
    policy: Callable[[str], Awaitable[LearningPolicy]]
    """A tenant's, as it is now."""


async def reject(workshop: Workshop, version: Version, reason: str) -> bool:
    """Reject a run's version that nobody is to use and take it out of the engines; False when it is in use already."""
    try:
        actor = actor_of(version.lineage.run_id)
        await workshop.registry.set_status(version.id, VersionStatus.REJECTED, actor, reason)
    except IllegalTransition:
        return False
    for engine in workshop.engines:
        with contextlib.suppress(EngineError):  # the reconciler finishes what fails here
            await engine.unload(version.id)
    return True


async def tidy(workshop: Workshop) -> None:
    """Remove what is left of runs that have ended: versions that still wait for their gate, files."""
    for version in await workshop.registry.with_status(VersionStatus.GATING):
        if version.lineage.run_id and await _ended(workshop, version.lineage.run_id):
            await reject(workshop, version, "its run has ended")
    for directory in await asyncio.to_thread(_directories, workshop.runs_dir):
        if await _ended(workshop, directory.name):
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)


async def _ended(workshop: Workshop, run_id: str) -> bool:
    try:
        return (await workshop.runs.get(run_id)).status not in OPEN
    except RunNotFound:
        return True


def _directories(path: Path) -> list[Path]:
    return list(path.iterdir()) if path.is_dir() else []
