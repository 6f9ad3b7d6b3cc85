"""All loads on one proxy, and what they came to."""

import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import uvloop

from tests.bench.load import Requests, Seen, closed_loop, open_loop, percentile
from tests.bench.load_streams import Streams, first_chunks, run_streams
from tests.bench.processes import Running

CONNECTIONS = 64
RATE = 500.0
STREAMS = 500
RAMP_S = 2.0
FIRST_CHUNKS = 100
TALKING = 50
"""Tenants who ask about once a second while first chunks are timed."""
SILENT_S = 6.0
"""After which a worker holds nothing of a tenant's limits any more."""
WARM_UP_S = 2.0
SUSTAINED = 1.3
"""A proxy is asked `RATE` requests a second only when it can do this many times as many."""


@dataclass(frozen=True)
class Subject:
    """Something that answers chat completions on a port."""

    name: str
    process: Running
    keys: Sequence[str] = ()

    def requests(self, model: str = "default", keys: Sequence[str] | None = None) -> Requests:
        """keys: of some tenants only."""
        return Requests(self.process.port, self.keys if keys is None else keys, model)


@dataclass
class Measured:
    """One subject's figures. Times in milliseconds."""

    name: str
    ready_s: float
    per_second: float = 0.0
    p50_busy: float = 0.0
    p50_alone: float = 0.0
    p99_open: float | None = None
    """None: it cannot do so many requests a second."""
    chunks_per_second: float = 0.0
    chunks_per_core: float = 0.0
    """Chunks for each second of processor time that the proxy used."""
    chunk_p99: float = 0.0
    first_chunk_p50: float = 0.0
    first_chunk_silent: float | None = None
    """Of tenants who have not asked for a while. None: there are no tenants."""
    answered: int = 0
    wrong: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, seen: Seen | Streams) -> None:
        self.answered += len(seen.latencies) if isinstance(seen, Seen) else seen.finished - seen.wrong
        self.wrong += seen.wrong
        if seen.example:
            self.examples.append(seen.example)


def measure(subject: Subject, seconds: float) -> Measured:
    """All loads on one subject, one after the other."""
    port, process = subject.process.port, subject.process
    made = Measured(subject.name, subject.process.ready_s)
    requests = subject.requests()
    _counted(made, closed_loop(port, requests, CONNECTIONS, min(WARM_UP_S, seconds)))
    busy = _counted(made, closed_loop(port, requests, CONNECTIONS, seconds))
    made.per_second, made.p50_busy = busy.rate, busy.percentile(0.5) * 1000
    made.p50_alone = _counted(made, closed_loop(port, requests, 1, seconds)).percentile(0.5) * 1000
    if made.per_second >= SUSTAINED * RATE:
        made.p99_open = _counted(made, open_loop(port, requests, RATE, seconds)).percentile(0.99) * 1000
    made.first_chunk_p50, made.first_chunk_silent = _first_chunks(subject, made)
    used = process.cpu_s()
    streams = _counted(made, run_streams(port, requests, STREAMS, seconds, RAMP_S))
    made.chunks_per_core = streams.chunks / max(0.01, process.cpu_s() - used)
    made.chunks_per_second, made.chunk_p99 = streams.rate, streams.delay(0.99) * 1000
    return made


def _first_chunks(subject: Subject, made: Measured) -> tuple[float, float | None]:
    """Medians, in milliseconds: of tenants who are talking, and of those who have not for a while."""

    def median(requests: Requests, count: int) -> float:
        seen = _counted(made, first_chunks(subject.process.port, requests, count))
        return percentile(seen.first, 0.5) * 1000

    talking = subject.requests(keys=subject.keys[:TALKING])
    median(talking, TALKING)
    first = median(talking, FIRST_CHUNKS)
    if len(subject.keys) < TALKING + FIRST_CHUNKS:
        return first, None
    time.sleep(SILENT_S)
    return first, median(subject.requests(keys=subject.keys[TALKING:]), FIRST_CHUNKS)


def _counted(made: Measured, load: Coroutine[Any, Any, Any]) -> Any:
    seen = go(load)
    made.add(seen)
    return seen


def go(load: Coroutine[Any, Any, Any]) -> Any:
    """Run a load to its end on an event loop of its own."""
    return uvloop.run(load)
