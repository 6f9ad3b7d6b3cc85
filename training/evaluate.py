"""Asks the real engine, many questions at a time, and never the same one twice."""

import asyncio
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from adapters.engine import Completion, Engine
from training.screening import normalised
from training.types import Message, Prompt, Tool

CONCURRENCY = 32
"""Questions under way at once: enough to fill the engine's batches, few enough not to starve its other
users."""
_REMEMBERED = 20_000


@dataclass(frozen=True)
class Answer:
    text: str
    tokens: int


@dataclass(frozen=True)
class Case:
    """A prompt with its right answer. `kind` and `subject` say what it stands for in the report."""

    messages: Sequence[Message]
    answer: str
    kind: str
    subject: str = ""
    tools: Sequence[Tool] = ()

    @property
    def prompt(self) -> Prompt:
        return Prompt(self.messages, self.tools)


class Asker:
    """Greedy answers of versions, spread over the replicas. What a version answered once is remembered:
    versions never change, so production's answers to the probes cost nothing the second time.

    taking: those of the replicas that are to be asked now; all of them without it.
    """

    def __init__(
        self,
        engines: Sequence[Engine],
        taking: Callable[[], Awaitable[Sequence[Engine]]] | None = None,
        *,
        concurrency: int = CONCURRENCY,
        max_tokens: int = 256,
    ) -> None:
        self._engines = engines
        self._taking = taking
        self._slots = asyncio.Semaphore(concurrency * len(engines))
        self._max_tokens = max_tokens
        self._known: OrderedDict[tuple[str, str], Answer] = OrderedDict()
        self._turn = 0

    async def answers(self, model: str, prompts: Sequence[Prompt]) -> list[Answer]:
        """One answer per prompt, in order. Raises adapters.errors.EngineError."""
        unique = {_key(model, prompt): prompt for prompt in prompts}
        missing = {key: prompt for key, prompt in unique.items() if key not in self._known}
        if missing:
            await self._look()
        async with asyncio.TaskGroup() as group:
            tasks = {key: group.create_task(self._ask(model, prompt)) for key, prompt in missing.items()}
        for key, task in tasks.items():
            self._known[key] = task.result()
        found = [self._known[_key(model, prompt)] for prompt in prompts]
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return found

    async def samples(self, model: str, prompt: Prompt, n: int, seed: int) -> Sequence[str]:
        """n answers at temperature 1. Raises adapters.errors.EngineError."""
        await self._look()
        completion = await self._chat(model, prompt, temperature=1.0, n=n, seed=seed)
        return completion.texts

    async def _look(self) -> None:
        if self._taking is not None:
            self._engines = await self._taking()

    async def _ask(self, model: str, prompt: Prompt) -> Answer:
        completion = await self._chat(model, prompt)
        return Answer(completion.texts[0].strip(), completion.completion_tokens)

    async def _chat(self, model: str, prompt: Prompt, **sampling: Any) -> Completion:
        async with self._slots:
            self._turn += 1
            engine = self._engines[self._turn % len(self._engines)]
            if prompt.tools:
                sampling["tools"] = prompt.tools
            return await engine.chat(model, prompt.messages, self._max_tokens, **sampling)


def right(answer: str, wanted: str) -> bool:
    """Normalised exact match."""
    return normalised(answer) == normalised(wanted)


def token_f1(answer: str, wanted: str) -> float:
    """Harmonic mean of word precision and recall (Rajpurkar et al. 2016); order does not count."""
    have, want = normalised(answer).split(), normalised(wanted).split()
    common = sum(min(have.count(word), want.count(word)) for word in set(have))
    return 2 * common / (len(have) + len(want)) if common else 0.0


def _key(model: str, prompt: Prompt) -> tuple[str, str]:
    return model, json.dumps(asdict(prompt), sort_keys=True, ensure_ascii=False)
