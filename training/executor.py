"""Where training happens: one thread of the learner that owns the warm base model."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Protocol

from adapters.base import BaseModel
from training.device import free_memory, limit, on_gpu
from training.lora import Row, Trained, WarmBase
from training.memory import Batch, Estimate, estimate, require, shape_of
from training.recipe import Recipe
from training.settings import Dtype
from training.watch import Report, Stopped

_STEP_SECONDS = 3.0
"""How long a learner whose run was cancelled waits for the step under way. A longer one ends on its own, and what comes
of it is dropped: a step is part of this process and cannot be killed without the base model that is kept warm."""
WEIGHT_BYTES: Mapping[Dtype, int] = {"float32": 4, "bfloat16": 2}


class Executor(Protocol):
    """Trains one adapter at a time."""

    async def warm(self) -> None:
        """Return once training could start at once. Raises what loading the base model raised."""

    async def check(self, recipe: Recipe) -> None:
        """Raises DoesNotFit when training on usual rows would need more memory than is free, once no training is under
        way any more."""

    async def train(
        self,
        rows: Sequence[Row],
        validation: Sequence[Row],
        recipe: Recipe,
        directory: Path,
        report: Report,
        stopped: Stopped,
        checkpoint: Path,
    ) -> Trained:
        """As WarmBase.train; `report` and `stopped` are called from another thread. Raises DoesNotFit when the rows
        need more memory than is free. Cancelling waits a moment for the step under way, which `stopped` should end."""


class LocalExecutor:
    """Loads the base model once, when started, and keeps it. dtype: of its frozen weights. gpu_share: the most of the
    GPU's memory that it takes, where there is a GPU."""

    def __init__(
        self, base: BaseModel, threads: int, dtype: Dtype = "float32", gpu_share: float = 1.0
    ) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="training")
        self._weight_bytes = WEIGHT_BYTES[dtype]
        self._gpu_share = gpu_share
        self._shape = shape_of(json.loads((base.path / "config.json").read_bytes()), base.modules)
        self._warm = self._pool.submit(self._load, base, threads, dtype)

    def _load(self, base: BaseModel, threads: int, dtype: Dtype) -> WarmBase:
        planned = self._estimate(Recipe(batch_size=1))
        require(planned.total, free_memory(self._gpu_share), planned)
        limit(self._gpu_share)
        return WarmBase(base.path, base.digest, threads, dtype)

    def _estimate(self, recipe: Recipe, batch: Batch | None = None) -> Estimate:
        return estimate(self._shape, recipe, self._weight_bytes, gpu=on_gpu(), batch=batch)

    def _require(self, recipe: Recipe, batch: Batch | None = None) -> None:
        planned = self._estimate(recipe, batch)
        require(planned.beside_base, free_memory(self._gpu_share), planned)

    async def check(self, recipe: Recipe) -> None:
        await self.warm()
        await asyncio.get_running_loop().run_in_executor(self._pool, self._require, recipe)

    async def warm(self) -> None:
        await asyncio.wrap_future(self._warm)

    async def train(
        self,
        rows: Sequence[Row],
        validation: Sequence[Row],
        recipe: Recipe,
        directory: Path,
        report: Report,
        stopped: Stopped,
        checkpoint: Path,
    ) -> Trained:
        def work() -> Trained:
            return self._warm.result().train(
                rows,
                validation,
                recipe,
                directory,
                report=report,
                stopped=stopped,
                checkpoint=checkpoint,
                fits=partial(self._require, recipe),
            )

        training = asyncio.get_running_loop().run_in_executor(self._pool, work)
        try:
            return await asyncio.shield(training)
        except asyncio.CancelledError:
            await asyncio.wait([training], timeout=_STEP_SECONDS)
            raise

    def close(self) -> None:
        """Wait for the step under way; stop it first."""
        self._pool.shutdown(wait=True, cancel_futures=True)
