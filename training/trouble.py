"""What a run becomes that raised, or whose learner the kernel killed for lack of memory: tried again where that may
help, else ended with the reason."""

import errno
from collections.abc import Iterator
from contextlib import suppress

from sqlalchemy.exc import OperationalError

from adapters.errors import EngineUnavailable
from adapters.registry import Registry
from adapters.types import VersionStatus
from retrieval.errors import RetrievalUnavailable
from training.errors import DiskFull, LeaseLost, OutOfMemory, OutOfResources
from training.oom import OomKills
from training.runs import RunStore
from training.types import Outcome, Run, RunStatus

RETRY_SECONDS = (10.0, 30.0, 60.0, 120.0)
"""Pauses before a run that met a passing fault is tried again; after the last it has failed."""
_PASSING = (OutOfResources, EngineUnavailable, RetrievalUnavailable, OperationalError)
_DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT})
_DISK_WORDS = ("No space left on device", "database or disk is full")
_MEMORY_WORDS = ("can't allocate memory", "not enough memory", "out of memory")


def outcome_of(problem: Exception, attempts: int) -> Outcome:
    """attempts: how often the run was interrupted before."""
    cause = understood(problem)
    says = f"{type(cause).__name__}: {cause}"
    if isinstance(cause, _PASSING) and attempts < len(RETRY_SECONDS):
        return Outcome(RunStatus.QUEUED, says, RETRY_SECONDS[attempts])
    return Outcome(RunStatus.FAILED, says)


async def bury(runs: RunStore, registry: Registry, kills: OomKills | None) -> None:
    """Of the runs whose learners died: where the kernel has killed for lack of memory since the learner took the run
    up, that is what the run is said to have met. The others are left to whoever takes them up, and so are those whose
    version is judged: only their end is missing."""
    if kills is None:
        return
    for run, owner, noted in await runs.abandoned():
        before = noted.get("oom_kills")
        if not (count := kills.since(OomKills(**before) if before else None)):
            continue
        if run.report or await _judged(registry, run):
            continue
        says = f"the learner died, and the kernel has killed for lack of memory since it took the run up ({count}x)"
        outcome = outcome_of(OutOfMemory(says), run.attempts)
        if outcome.status is RunStatus.QUEUED:
            await runs.release(run.id, owner, outcome.error, outcome.retry_s)
        else:
            with suppress(LeaseLost):
                await runs.finish(run.id, owner, outcome.status, outcome.error)


async def _judged(registry: Registry, run: Run) -> bool:
    version = await registry.version_of_run(run.tenant_id, run.adapter, run.id)
    return version is not None and version.status is not VersionStatus.GATING


def understood(problem: Exception) -> Exception:
    """The problem itself, or what it comes down to: libraries tell a full disk and a lack of memory in many ways."""
    for one in _causes(problem):
        if isinstance(one, OutOfResources):
            return one
        if (isinstance(one, OSError) and one.errno in _DISK_ERRORS) or _says(one, _DISK_WORDS):
            return DiskFull(str(one))
        if isinstance(one, MemoryError) or (isinstance(one, RuntimeError) and _says(one, _MEMORY_WORDS)):
            return OutOfMemory(str(one) or "the process got no more memory")
    return _single(problem)


def _causes(problem: BaseException) -> Iterator[BaseException]:
    """The problem, what it groups, and what raised it, from the outside in."""
    yield problem
    if isinstance(problem, BaseExceptionGroup):
        for one in problem.exceptions:
            yield from _causes(one)
    if problem.__cause__ is not None:
        yield from _causes(problem.__cause__)


def _single(problem: Exception) -> Exception:
    return _single(problem.exceptions[0]) if isinstance(problem, ExceptionGroup) else problem


def _says(problem: BaseException, words: tuple[str, ...]) -> bool:
    text = str(problem).lower()
    return any(word.lower() in text for word in words)
