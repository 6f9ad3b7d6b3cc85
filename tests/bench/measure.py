"""All loads on one proxy, and what they came to."""

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
WARM_UP_S = 2.0
SUSTAINED = 1.3
"""A proxy is asked `RATE` requests a second only when it can do this many times as many."""


@dataclass(frozen=True)
class Subject:
    """Something that answers chat completions on a port."""

    name: str
    process: Running
    keys: Sequence[str] = ()

    def requests(self, model: str = "default") -> Requests:
        return Requests(self.process.port, self.keys, model)


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
    first = _counted(made, first_chunks(port, requests, FIRST_CHUNKS))
    made.first_chunk_p50 = percentile(first.first, 0.5) * 1000
    used = process.cpu_s()
    streams = _counted(made, run_streams(port, requests, STREAMS, seconds, RAMP_S))
    made.chunks_per_core = streams.chunks / max(0.01, process.cpu_s() - used)
    made.chunks_per_second, made.chunk_p99 = streams.rate, streams.delay(0.99) * 1000
    return made


def _counted(made: Measured, load: Coroutine[Any, Any, Any]) -> Any:
    seen = go(load)
    made.add(seen)
    return seen


def go(load: Coroutine[Any, Any, Any]) -> Any:
    """Run a load to its end on an event loop of its own."""
    return uvloop.run(load)
