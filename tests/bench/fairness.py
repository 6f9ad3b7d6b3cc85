"""Part `fairness`: what a tenant that floods the gateway costs another one, against a real vLLM."""

import asyncio
import random
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from deploy.demo.serving import RunningEngine
from tests.bench.engine_apart import engine_apart
from tests.bench.house import House, house
from tests.bench.load import WORDS, Requests, Seen, closed_loop, open_loop
from tests.bench.measure import go
from tests.bench.part import Options, Outcome
from tests.bench.processes import Cores
from tests.bench.report import Figure

SLOTS = 8
"""Requests that the engine gets at once; more only make each of them slower on a processor."""
TENANTS = 2
OTHERS_SHARE = 0.5
"""Of its own part of the engine, that the other tenant uses."""
FLOOD = 20
TOKENS = 8
PROMPT_WORDS = 40
CONNECTIONS = 2048
"""Of the flood: more than the gateway lets wait, so that nothing waits outside it."""
WARM_UP_S = 3.0
REQUESTS = 300
"""Of the other tenant in each round, at least: its 99th percentile needs them."""
ROUNDS = 4
"""Of both loads, by turns: an engine is not as fast in one minute as in the next."""


class Prompts(Requests):
    """One tenant's requests to the base model, all different. What is an answer has choices."""

    def __init__(self, port: int, key: str, seed: int) -> None:
        self._start = self._head(port, key)
        self._rng = random.Random(seed)
        self._numbers = count()

    def next(self, more: bytes = b"", kind: bytes = b"q") -> tuple[bytes, bytes]:
        words = " ".join(self._rng.choices(WORDS, k=PROMPT_WORDS)).encode()
        body = (
            b'{"model":"base","messages":[{"role":"user","content":"%d %b?"}],"max_tokens":%d,"min_tokens":%d}'
            % (next(self._numbers), words, TOKENS, TOKENS)
        )
        return b'"choices"', self._start + b"%d\r\n\r\n" % len(body) + body


def run(options: Options) -> Outcome:
    """The engine alone on one core, everything else on the other."""
    outcome = Outcome()
    with engine_apart() as (directory, running, cores):
        _run(options, directory, running, cores, outcome)
    return outcome


def _run(options: Options, directory: Path, running: RunningEngine, cores: Cores, outcome: Outcome) -> None:
    with (
        house(directory, running.url, TENANTS, cores, running.token, engine_slots=SLOTS) as made,
        made.worker() as worker,
    ):
        for seconds in (WARM_UP_S, options.seconds):
            whole = go(closed_loop(worker.port, Prompts(worker.port, made.keys[0], 0), 2 * SLOTS, seconds))
        share = whole.rate / TENANTS
        seconds = max(options.seconds, REQUESTS / (OTHERS_SHARE * share))
        fair, flooded, flood = Seen(), Seen(), Seen()
        for _ in range(ROUNDS):
            pool(go(_both(made, worker.port, share, 1, seconds)), [fair, Seen()])
            pool(go(_both(made, worker.port, share, FLOOD, seconds)), [flooded, flood])
    outcome.notes.append(
        f"the engine answers {whole.rate:.1f} requests/s; each load {ROUNDS} times {seconds:.0f} s, "
        f"{len(fair.latencies)} and {len(flooded.latencies)} answers to the other tenant"
    )
    outcome.notes += [f"wrong: {seen.example}" for seen in (fair, flooded) if seen.example]
    outcome.figures = [
        Figure(
            f"another's p99, flood at {FLOOD}× its share",
            flooded.percentile(0.99) * 1000,
            "ms",
            fair.percentile(0.99) * 1000,
            "flood at 1×",
            target=1.5,
            of_ratio=True,
        ),
        Figure(
            "another's p50",
            flooded.percentile(0.5) * 1000,
            "ms",
            fair.percentile(0.5) * 1000,
            "flood at 1×",
        ),
        Figure("requests of the other that failed", fair.wrong + flooded.wrong, target=0),
        Figure("answers/s that the flood got, of its share", flood.rate / share),
    ]


def pool(found: Sequence[Seen], into: Sequence[Seen]) -> None:
    """Add what one round saw to all of them."""
    for one, whole in zip(found, into, strict=True):
        whole.latencies += one.latencies
        whole.wrong += one.wrong
        whole.seconds += one.seconds
        whole.example = whole.example or one.example


async def _both(made: House, port: int, share: float, times: float, seconds: float) -> Sequence[Seen]:
    """Both tenants in an open loop: the other one, and the one that asks for `times` its share."""
    other, flooding = (Prompts(port, key, seed) for seed, key in enumerate(made.keys))
    return await asyncio.gather(
        open_loop(port, other, OTHERS_SHARE * share, seconds),
        open_loop(port, flooding, times * share, seconds, CONNECTIONS if times > 1 else 256),
    )
