"""Asking questions as a client would: through the official SDK, without retries, keeping what the headers say."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from openai import AsyncOpenAI

from gateway.cli.facts import Check

UNKNOWN = ("do not know", "don't know")
CONCURRENCY = 12
OFF = {"X-Memory": "off", "X-Retrieval": "off"}
"""Headers of a request that only the weights may answer."""


@dataclass(frozen=True)
class Answer:
    """One answer and how it came about."""

    id: str
    question: str
    text: str
    version: str
    memory: tuple[str, ...]
    passages: tuple[str, ...]
    prompt_tokens: int
    ms: float

    @property
    def unknown(self) -> bool:
        return any(phrase in self.text.lower() for phrase in UNKNOWN)

    def says(self, expected: str) -> bool:
        return _normal(self.text) == _normal(expected)


def _normal(text: str) -> str:
    return " ".join(text.lower().split()).strip(" .")


def _listed(header: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (header or "").split(",") if part.strip())


async def ask(
    client: AsyncOpenAI,
    question: str | Sequence[Mapping[str, str]],
    model: str = "default",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Ask one question (or a whole conversation) at temperature 0."""
    messages = [{"role": "user", "content": question}] if isinstance(question, str) else list(question)
    started = time.perf_counter()
    raw = await client.chat.completions.with_raw_response.create(
        model=model,
        messages=messages,  # type: ignore[arg-type]
        temperature=0,
        max_tokens=32,
        extra_headers=dict(headers or {}),
    )
    elapsed = (time.perf_counter() - started) * 1000
    completion = raw.parse()
    return Answer(
        id=completion.id,
        question=str(messages[-1]["content"]),
        text=(completion.choices[0].message.content or "").strip(),
        version=raw.headers.get("x-graft-version", ""),
        memory=_listed(raw.headers.get("x-graft-memory")),
        passages=_listed(raw.headers.get("x-graft-passages")),
        prompt_tokens=completion.usage.prompt_tokens if completion.usage else 0,
        ms=elapsed,
    )


async def ask_all(
    client: AsyncOpenAI,
    questions: Sequence[str | Sequence[Mapping[str, str]]],
    model: str = "default",
    headers: Mapping[str, str] | None = None,
) -> list[Answer]:
    """Ask many questions, a bounded number at a time, answers in order."""
    slots = asyncio.Semaphore(CONCURRENCY)

    async def one(question: str | Sequence[Mapping[str, str]]) -> Answer:
        async with slots:
            return await ask(client, question, model, headers)

    return await asyncio.gather(*(one(question) for question in questions))


def share_right(answers: Sequence[Answer], checks: Sequence[Check]) -> float:
    """Share of the answers that say what the checks expect; 1.0 for none."""
    right = sum(answer.says(check.answer) for answer, check in zip(answers, checks, strict=True))
    return right / len(answers) if answers else 1.0


def share_unknown(answers: Sequence[Answer]) -> float:
    """Share of the answers that admit not to know; 1.0 for none."""
    return sum(answer.unknown for answer in answers) / len(answers) if answers else 1.0
