"""Part `slots`: more adapters than a real vLLM has slots, through the gateway and asked directly."""

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from adapters.base import describe_base
from adapters.vllm import VllmEngine
from deploy.demo.serving import RunningEngine
from tests.bench.engine_apart import MODEL, engine_apart
from tests.bench.house import house, version_id
from tests.bench.load import WORDS, moments, percentile
from tests.bench.measure import go
from tests.bench.part import Options, Outcome
from tests.bench.processes import Cores
from tests.bench.report import Figure
from tests.integration.random_adapters import write_adapter

SLOTS = 4
ADAPTERS = (4, 8, 16, 64)
SPREADS = ("uniform", "zipf")
TOKENS = 8
PASSAGE_WORDS = 150
"""Of a prompt: as much as retrieved passages take."""
CLOSED = 32
LOAD = 0.7
REQUESTS_PER_SECOND = 6.0
"""A load at a lower rate lasts longer, so that it has as many requests."""
DRAIN_S = 60.0
WARM_UP_S = 3.0
_WORDS = random.Random(0)


@dataclass(frozen=True)
class Subject:
    """Who is asked. callers: bearer key and model name for each adapter."""

    name: str
    url: str
    callers: Sequence[tuple[str, str]]


@dataclass
class Seen:
    """One load's answers. Times in seconds."""

    first: list[float] = field(default_factory=list)
    """From when a request was due to its first token."""
    failed: int = 0
    seconds: float = 0.0
    """From the first request to the last answer."""

    @property
    def rate(self) -> float:
        return len(self.first) / self.seconds

    @property
    def median(self) -> float:
        return percentile(self.first, 0.5)


def run(options: Options) -> Outcome:
    """The engine alone on one core, everything else on the other."""
    outcome = Outcome()
    with engine_apart(max_loras=SLOTS, max_cpu_loras=max(ADAPTERS)) as (directory, running, cores):
        _run(options, directory, running, cores, outcome)
    return outcome


def _run(options: Options, directory: Path, running: RunningEngine, cores: Cores, outcome: Outcome) -> None:
    go(_load_adapters(directory / "adapters", running))
    direct = Subject("direct", running.url, [(running.token, version_id(i)) for i in range(max(ADAPTERS))])
    with (
        house(directory / "house", running.url, max(ADAPTERS), cores, running.token, slots=SLOTS) as made,
        made.worker() as worker,
    ):
        url = f"http://127.0.0.1:{worker.port}"
        ours = Subject("graft", url, [(key, "default") for key in made.keys])
        go(_closed(direct, WARM_UP_S))
        go(_closed(ours, WARM_UP_S))
        rate = LOAD * go(_closed(direct, options.seconds)).rate
        seconds = options.seconds * max(1.0, REQUESTS_PER_SECOND / rate)
        found = {
            (subject.name, spread, count): go(_open(subject, spread, count, rate, seconds))
            for spread in SPREADS
            for count in ADAPTERS
            for subject in (ours, direct)
        }
    outcome.notes.append(f"open loop at {rate:.1f} requests/s, {LOAD:.0%} of what saturates {SLOTS} adapters")
    outcome.tables["measured"] = [_row(*which, seen) for which, seen in found.items()]
    outcome.figures = [figure for spread in SPREADS for figure in figures(spread, found)]


async def _load_adapters(directory: Path, running: RunningEngine) -> None:
    base = describe_base(MODEL)
    async with httpx.AsyncClient(trust_env=False) as http:
        replica = VllmEngine(running.url, running.token, http)
        for number in range(max(ADAPTERS)):
            path = write_adapter(directory / str(number), base, number)
            await replica.load(version_id(number), path)


def _row(subject: str, spread: str, count: int, seen: Seen) -> Mapping[str, Any]:
    return {
        "who": subject,
        "spread": spread,
        "adapters": count,
        "TTFT p50 ms": seen.median * 1000,
        "p99 ms": percentile(seen.first, 0.99) * 1000,
        "max ms": max(seen.first, default=float("inf")) * 1000,
        "answers/s": seen.rate,
        "failed": seen.failed,
    }


def figures(spread: str, found: Mapping[tuple[str, str, int], Seen]) -> Sequence[Figure]:
    ours = {count: found["graft", spread, count] for count in ADAPTERS}
    direct = {count: found["direct", spread, count] for count in ADAPTERS}
    slow, slow_direct = (each[16].median / each[4].median for each in (ours, direct))
    kept, kept_direct = (each[16].rate / each[4].rate for each in (ours, direct))
    waits = [
        Figure(
            f"slowest against median TTFT, {count} adapters, {spread}",
            max(ours[count].first, default=float("inf")) / ours[count].median,
            "×",
            max(direct[count].first, default=float("inf")) / direct[count].median,
            "direct",
            target=10.0,
        )
        for count in ADAPTERS
    ]
    failed = sum(seen.failed for seen in ours.values())
    return [
        Figure(f"median TTFT, 16 against 4, {spread}", slow, "×", slow_direct, "direct", target=3.0),
        Figure(
            f"throughput, 16 against 4, {spread}", kept, "×", kept_direct, "direct", target=0.7, at_most=False
        ),
        *waits,
        Figure(f"requests failed, {spread}", failed, target=0),
    ]


async def _closed(subject: Subject, seconds: float) -> Seen:
    """`CLOSED` connections over as many adapters as there are slots, as fast as they can."""
    seen, start = Seen(), time.monotonic()

    async def ask(http: httpx.AsyncClient, number: int) -> None:
        while time.monotonic() < start + seconds:
            await _ask(http, subject, number % SLOTS, time.monotonic(), seen)

    async with _client(subject) as http:
        await asyncio.gather(*(ask(http, number) for number in range(CLOSED)))
    seen.seconds = time.monotonic() - start
    return seen


async def _open(subject: Subject, spread: str, count: int, rate: float, seconds: float) -> Seen:
    """Requests leave on the clock; what has not been answered `DRAIN_S` after the last is failed."""
    seen, rng = Seen(), random.Random(count)
    weights = [1.0 if spread == "uniform" else 1 / (rank + 1) for rank in range(count)]
    async with _client(subject) as http:
        start = time.monotonic()
        tasks = []
        for moment in moments(rate, seconds):
            await asyncio.sleep(max(0.0, start + moment - time.monotonic()))
            (number,) = rng.choices(range(count), weights)
            tasks.append(asyncio.create_task(_ask(http, subject, number, start + moment, seen)))
        _, late = await asyncio.wait(tasks, timeout=DRAIN_S)
        seen.seconds = time.monotonic() - start
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
    seen.failed += len(late)
    return seen


def _client(subject: Subject) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=2000, max_keepalive_connections=256)
    return httpx.AsyncClient(base_url=subject.url, trust_env=False, timeout=DRAIN_S, limits=limits)


async def _ask(http: httpx.AsyncClient, subject: Subject, number: int, due: float, seen: Seen) -> None:
    key, model = subject.callers[number]
    passage = " ".join(_WORDS.choices(WORDS, k=PASSAGE_WORDS))
    body = {
        "model": model,
        "messages": [{"role": "user", "content": f"{passage}. What does it cost?"}],
        "max_tokens": TOKENS,
        "min_tokens": TOKENS,
        "stream": True,
    }
    headers = {"authorization": f"Bearer {key}"}
    first, done = None, False
    try:
        async with http.stream("POST", "/v1/chat/completions", json=body, headers=headers) as response:
            async for line in response.aiter_lines():
                if first is None and line.startswith("data: {") and '"role"' not in line:
                    first = time.monotonic() - due
                done = done or line == "data: [DONE]"
    except httpx.HTTPError:
        done = False
    if first is None or not done:
        seen.failed += 1
    else:
        seen.first.append(first)
