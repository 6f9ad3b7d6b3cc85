"""A real engine with a core to itself, for the parts that measure one."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.demo.serving import RunningEngine, engine
from tests.bench.processes import ROOT, BenchError, Cores

MODEL = ROOT / "deploy" / "demo" / "model"


@contextmanager
def engine_apart(**settings: int) -> Iterator[tuple[Path, RunningEngine, Cores]]:
    """An empty directory, the engine with the shipped model alone on one core, and the other one for everything else,
    the caller included. settings: of `adapters.settings`. Raises BenchError."""
    cores = Cores.of_this_machine()
    before = os.sched_getaffinity(0)
    try:
        with tempfile.TemporaryDirectory(prefix="graft-bench-") as name:
            os.sched_setaffinity(0, {cores.proxy})
            with engine(MODEL, **settings) as running:
                os.sched_setaffinity(0, {cores.load})
                yield Path(name), running, Cores(cores.load, cores.load)
    except RuntimeError as error:
        raise BenchError(str(error)) from error
    finally:
        os.sched_setaffinity(0, before)
