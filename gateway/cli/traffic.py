"""Open-loop load: requests leave on the clock, whether or not earlier ones have come back."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from openai import AsyncOpenAI, OpenAIError

from gateway.cli.asking import OFF

LONG_TOKENS = 300
"""Length of the streams that are meant to be open while the alias moves."""


@dataclass(frozen=True)
class Stream:
    """One long stream: what it said, and by which version."""

    question: str
    version: str
    text: str


@dataclass
class Load:
    """What the load has seen so far."""

    sent: int = 0
    answered: int = 0
    failures: list[str] = field(default_factory=list)
    versions: Counter[str] = field(default_factory=Counter)

    def failed(self, error: Exception) -> None:
        self.failures.append(f"{type(error).__name__}: {error}"[:200])


class Traffic:
    """Keeps `rate` requests per second going from several tenants, every other one streamed."""

    def __init__(self, clients: Sequence[AsyncOpenAI], questions: Sequence[str], rate: float) -> None:
        self.load = Load()
        self._clients, self._questions, self._rate = clients, questions, rate
        self._tasks: set[asyncio.Task[None]] = set()
        self._pacer: asyncio.Task[None] | None = None
        self._rng = random.Random(0)

    def start(self) -> None:
        self._pacer = asyncio.create_task(self._pace())

    async def stop(self) -> None:
        """Send nothing more and wait for what is still open."""
        if self._pacer is not None:
            self._pacer.cancel()
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    def open_stream(
        self, client: AsyncOpenAI, question: str, model: str = "default", started: asyncio.Event | None = None
    ) -> asyncio.Task[Stream]:
        """Start one long stream; its failure counts like any other, and is raised by the task too.

        started: set when the first chunk has come.
        """
        return asyncio.create_task(self._long_stream(client, question, model, started or asyncio.Event()))

    async def _pace(self) -> None:
        start, sent = time.monotonic(), 0
        while True:
            sent += 1
            task = asyncio.create_task(self._one(sent))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            await asyncio.sleep(max(0.0, start + sent / self._rate - time.monotonic()))

    async def _one(self, number: int) -> None:
        client = self._clients[number % len(self._clients)]
        question = self._rng.choice(self._questions)
        self.load.sent += 1
        try:
            version = await (self._streamed if number % 4 < 2 else self._whole)(client, question)
        except OpenAIError as error:
            self.load.failed(error)
            return
        self.load.answered += 1
        self.load.versions[version] += 1

    async def _whole(self, client: AsyncOpenAI, question: str) -> str:
        raw = await client.chat.completions.with_raw_response.create(
            model="default", messages=[{"role": "user", "content": question}], temperature=0, max_tokens=24
        )
        raw.parse()
        return raw.headers.get("x-graft-version", "")

    async def _streamed(self, client: AsyncOpenAI, question: str) -> str:
        raw = await client.chat.completions.with_raw_response.create(
            model="default",
            messages=[{"role": "user", "content": question}],
            temperature=0,
            max_tokens=24,
            stream=True,
        )
        async with raw.parse() as stream:
            async for _ in stream:
                pass
        return raw.headers.get("x-graft-version", "")

    async def _long_stream(
        self, client: AsyncOpenAI, question: str, model: str, started: asyncio.Event
    ) -> Stream:
        try:
            raw = await client.chat.completions.with_raw_response.create(
                model=model,
                messages=[{"role": "user", "content": question}],
                temperature=0,
                max_tokens=LONG_TOKENS,
                stream=True,
                extra_headers=OFF,
                extra_body={"ignore_eos": True, "min_tokens": LONG_TOKENS},
            )
            parts: list[str] = []
            async with raw.parse() as stream:
                async for chunk in stream:
                    started.set()
                    parts += [choice.delta.content or "" for choice in chunk.choices]
        except OpenAIError as error:
            self.load.failed(error)
            raise
        return Stream(question, raw.headers.get("x-graft-version", ""), "".join(parts))


def own_version(stream: Stream, same: str, other: str) -> bool:
    """Whether the stream's text follows its own version throughout, not another's from some point on.

    same, other: the same request answered again by the stream's own version and by the other one. Batching may
    change a late token on its own, so the test is which of the two the text follows for longer.
    """
    return _common(stream.text, same) >= _common(stream.text, other)


def _common(left: str, right: str) -> int:
    for position, (a, b) in enumerate(zip(left, right, strict=False)):
        if a != b:
            return position
    return min(len(left), len(right))


class StraddlingStreams:
    """Long streams that are open while the alias moves."""

    def __init__(
        self, traffic: Traffic, client: AsyncOpenAI, questions: Sequence[str], deadline_s: float
    ) -> None:
        self._traffic, self._client, self._questions = traffic, client, questions
        self._deadline_s = deadline_s

    async def across(
        self, flip: Callable[[], Awaitable[dict[str, Any]]]
    ) -> tuple[dict[str, Any], list[Stream]]:
        """Open the streams, move the alias once all of them have said something, let them finish."""
        opened = [asyncio.Event() for _ in self._questions]
        tasks = [
            self._traffic.open_stream(self._client, question, started=event)
            for question, event in zip(self._questions, opened, strict=True)
        ]
        await asyncio.wait_for(asyncio.gather(*(event.wait() for event in opened)), self._deadline_s)
        moved = await flip()
        return moved, await asyncio.gather(*tasks)

    async def unmixed(self, streams: Sequence[Stream], other: str) -> int:
        """How many of the streams follow their own version throughout, each asked again of both versions."""
        asked = [
            (
                self._traffic.open_stream(self._client, s.question, s.version),
                self._traffic.open_stream(self._client, s.question, other),
            )
            for s in streams
        ]
        again = [await asyncio.gather(*pair) for pair in asked]
        return sum(
            own_version(s, same.text, else_.text) for s, (same, else_) in zip(streams, again, strict=True)
        )
