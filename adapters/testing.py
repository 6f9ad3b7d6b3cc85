"""In-memory stand-ins for the package's ports, for unit tests."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adapters.engine import Completion, Holding
from adapters.errors import EngineRefused, EngineUnavailable, WorkersBehind, WorkersUnseen
from adapters.slot_table import Grants, SlotTable, Word
from adapters.types import BASE_NAME, AliasMove

Answer = Callable[[str, Sequence[Mapping[str, Any]]], str]
"""From model name and messages to the text that the engine says."""


class FakeEngine:
    """An engine that answers with what `answer` returns.

    Turn it `down`, put a version's id in `inert` to make it answer like the base, in `broken` to make its
    probabilities NaN, in `refused` to have its load fail, in `deaf` to have it loaded but not listed, in `unserved`
    to have it listed but not served until it is loaded again. Set `pins` to None to make it an engine that cannot pin,
    `most_pins` to bound them.
    """

    def __init__(
        self, url: str = "fake://engine", answer: Answer | None = None, base_digest: str = "sha256:base"
    ) -> None:
        self._url = url
        self._base_digest = base_digest
        self._answer = answer or (lambda model, messages: f"{model} answers")
        self.loaded: dict[str, Path] = {}
        self.calls: list[tuple[str, str]] = []
        """What was done, in order: ("load", "unload", "pin" or "unpin", version id)."""
        self.pins: set[str] | None = set()
        self.most_pins = 12
        self.down = False
        self.inert: set[str] = set()
        self.broken: set[str] = set()
        self.refused: set[str] = set()
        self.deaf: set[str] = set()
        self.unserved: set[str] = set()

    @property
    def url(self) -> str:
        return self._url

    @property
    def base_digest(self) -> str:
        return self._base_digest

    def restart(self) -> None:
        """Forget everything, as a new process does."""
        self.loaded.clear()
        if self.pins is not None:
            self.pins.clear()

    async def pull(self, version_id: str, digest: str) -> bool:
        self._reach()
        return False

    async def load(self, version_id: str, path: Path) -> None:
        self._reach()
        if version_id in self.refused:
            raise EngineRefused(self._url, 500, "refused by the test")
        self.loaded[version_id] = path
        self.unserved.discard(version_id)
        self.calls.append(("load", version_id))

    async def unload(self, version_id: str) -> None:
        self._reach()
        if self.loaded.pop(version_id, None) is not None:
            self.calls.append(("unload", version_id))
        if self.pins is not None:
            self.pins.discard(version_id)

    async def holding(self) -> Holding:
        self._reach()
        pins = None if self.pins is None else frozenset(self.pins)
        return Holding(frozenset(self.loaded.keys() - self.deaf), pins, frozenset(self.unserved))

    async def resident(self) -> frozenset[str]:
        return (await self.holding()).resident

    async def pin(self, version_id: str) -> None:
        pins = self._pinning()
        if version_id not in self.loaded or len(pins | {version_id}) > self.most_pins:
            raise EngineRefused(self._url, 409, "not loaded, or too many are pinned")
        pins.add(version_id)
        self.calls.append(("pin", version_id))

    async def unpin(self, version_id: str) -> None:
        self._pinning().discard(version_id)
        self.calls.append(("unpin", version_id))

    async def healthy(self) -> bool:
        return not self.down

    async def chat(
        self,
        model: str,
        messages: Sequence[Mapping[str, Any]],
        max_tokens: int,
        temperature: float = 0.0,
        n: int = 1,
        seed: int | None = None,
        top_logprobs: int | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> Completion:
        self._reach()
        if model != BASE_NAME and model not in self.loaded:
            raise EngineRefused(self._url, 404, f"the model {model} does not exist")
        text = self._answer(model, messages)
        odds = None if top_logprobs is None else self._odds(model)
        return Completion([text] * n, len(str(messages)), n * len(text), odds)

    def _odds(self, model: str) -> Mapping[str, float]:
        if model in self.broken:
            return {"a": math.nan}
        plain = model == BASE_NAME or model in self.inert
        return {"a": -0.1, "b": -2.5} if plain else {"a": -1.1, "b": -0.5}

    def _pinning(self) -> set[str]:
        self._reach()
        if self.pins is None:
            raise EngineRefused(self._url, 404, "it cannot pin")
        return self.pins

    def _reach(self) -> None:
        if self.down:
            raise EngineUnavailable(self._url, "turned off by the test")


class FakeWorkers:
    """Gateway workers without processes: each has applied a position and holds some leases. Make them `unseen`, as when
    Redis is away."""

    def __init__(self, count: int = 2, *, follow: bool = True) -> None:
        self.applied = [0] * count
        """Position by worker."""
        self.follow = follow
        """Whether workers apply a change as soon as it is announced."""
        self.held: Counter[str] = Counter()
        self.announced: list[int] = []
        self.moves: list[AliasMove] = []
        self.unseen = False
        self._moved = asyncio.Condition()

    async def announce(self, change: int, move: AliasMove | None = None) -> None:
        self.announced.append(change)
        self.moves += [move] if move else []
        if self.follow:
            await self.apply(change)

    async def apply(self, change: int) -> None:
        """Every worker now serves this position."""
        async with self._moved:
            self.applied = [max(applied, change) for applied in self.applied]
            self._moved.notify_all()

    async def wait_for(self, change: int, deadline_s: float) -> int:
        if self.unseen:
            raise WorkersUnseen(change, "turned off by the test")
        try:
            async with asyncio.timeout(deadline_s or 0.001), self._moved:
                await self._moved.wait_for(lambda: all(applied >= change for applied in self.applied))
        except TimeoutError:
            raise WorkersBehind(change, sum(applied < change for applied in self.applied)) from None
        return len(self.applied)

    async def leases(self) -> Mapping[str, int]:
        if self.unseen:
            raise WorkersUnseen(0, "turned off by the test")
        return dict(self.held)


@dataclass
class MemorySlots:
    """One worker's way to the tables that several share, one for each replica."""

    tables: dict[str, SlotTable]
    count: int
    worker: str = "w_0"
    live: set[str] = field(default_factory=lambda: {"w_0"})
    clock: Callable[[], float] = time.monotonic
    away: bool = False
    words: list[Word] = field(default_factory=list)

    async def exchange(self, url: str, word: Word) -> Grants:
        if self.away:
            raise ConnectionError("away")
        self.words.append(word)
        table = self.tables.setdefault(url, SlotTable(self.count))
        return table.exchange(self.worker, word, self.clock(), self.live)
