import errno

import pytest
from sqlalchemy.exc import OperationalError

from adapters.errors import EngineRefused, EngineUnavailable
from training.errors import DiskFull, DoesNotFit, NotEnoughData, OutOfMemory
from training.trouble import RETRY_SECONDS, outcome_of, understood
from training.types import RunStatus


def caused(outer: Exception, cause: Exception) -> Exception:
    outer.__cause__ = cause
    return outer


@pytest.mark.parametrize(
    ("problem", "kind"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), DiskFull),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), DiskFull),
        (RuntimeError("I/O error: No space left on device (os error 28)"), DiskFull),
        (OperationalError("INSERT", {}, Exception("database or disk is full")), DiskFull),
        (caused(ValueError("x"), OSError(errno.ENOSPC, "No space left on device")), DiskFull),
        (MemoryError(), OutOfMemory),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"),
            OutOfMemory,
        ),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."), OutOfMemory),
        (ExceptionGroup("tasks", [ValueError("x"), MemoryError()]), OutOfMemory),
    ],
)
def test_a_full_disk_and_a_lack_of_memory_are_known_in_every_dress(
    problem: Exception, kind: type[Exception]
) -> None:
    assert isinstance(understood(problem), kind)
    outcome = outcome_of(problem, 0)
    assert outcome.status is RunStatus.QUEUED and outcome.retry_s == RETRY_SECONDS[0]
    assert (outcome.error or "").startswith(kind.__name__)


def test_pauses_grow_and_end() -> None:
    problem = EngineUnavailable("http://engine", "down")
    pauses = [outcome_of(problem, attempts).retry_s for attempts in range(len(RETRY_SECONDS))]
    assert pauses == sorted(RETRY_SECONDS)
    assert outcome_of(problem, len(RETRY_SECONDS)).status is RunStatus.FAILED


@pytest.mark.parametrize(
    "problem",
    [
        NotEnoughData("x"),
        DoesNotFit("x"),
        EngineRefused("http://engine", 400, "x"),
        ValueError("x"),
        OSError("x"),
    ],
)
def test_what_would_fail_again_is_not_tried_again(problem: Exception) -> None:
    assert outcome_of(problem, 0).status is RunStatus.FAILED
