"""Where training happens: one thread of the learner that owns the warm base model."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from training.lora import Cancelled, Report, Row, Trained, WarmBase
from training.recipe import Recipe


class Executor(Protocol):
    """Trains one adapter at a time."""

    async def warm(self) -> None:
        """Return once training could start at once. Raises what loading the base model raised."""

    async def train(
        self,
        rows: Sequence[Row],
        validation: Sequence[Row],
        recipe: Recipe,
        directory: Path,
        report: Report,
        cancelled: Cancelled,
    ) -> Trained:
        """As WarmBase.train; `report` and `cancelled` are called from another thread."""


class LocalExecutor:
    """Loads the base model once, when started, and keeps it."""

    def __init__(self, base: Path, name: str, threads: int) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="training")
        self._warm = self._pool.submit(WarmBase, base, name, threads)

    async def warm(self) -> None:
        await asyncio.wrap_future(self._warm)

    async def train(
        self,
        rows: Sequence[Row],
        validation: Sequence[Row],
        recipe: Recipe,
        directory: Path,
        report: Report,
        cancelled: Cancelled,
    ) -> Trained:
        def work() -> Trained:
            base = self._warm.result()
            return base.train(rows, validation, recipe, directory, report=report, cancelled=cancelled)

        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def close(self) -> None:
        """Wait for the step under way; cancel it first."""
        self._pool.shutdown(wait=True, cancel_futures=True)
