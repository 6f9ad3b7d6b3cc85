"""Part `gateway`: one worker with everything on, beside no proxy at all, FastAPI + httpx, and other proxies."""

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
from redis import Redis

from tests.bench import peers
from tests.bench.gateway_figures import figures_of
from tests.bench.house import House, house
from tests.bench.load import closed_loop
from tests.bench.measure import CONNECTIONS, Measured, Subject, go, measure
from tests.bench.memory import memory_figures
from tests.bench.part import Options, Outcome
from tests.bench.processes import BenchError, Cores, Running, free_port, running
from tests.bench.report import Figure
from tests.bench.two_workers import two_workers_figures
from training.journal import STREAM, STREAM_LENGTH

TENANTS = 1000
ENGINE_SLOTS = 1000
"""More than there are connections or streams: nothing waits for its turn."""
SETTLE_S = 30.0


def run(options: Options) -> Outcome:
    """Everything in turn; nothing runs beside the subject but the stub, the load and Redis."""
    cores = Cores.of_this_machine()
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cores.load})
    outcome = Outcome()
    try:
        with tempfile.TemporaryDirectory(prefix="graft-bench-") as name:
            directory = Path(name)
            with stub(directory, cores) as upstream:
                _run(options, directory, upstream, cores, outcome)
    finally:
        os.sched_setaffinity(0, before)
    return outcome


def _run(options: Options, directory: Path, upstream: Running, cores: Cores, outcome: Outcome) -> None:
    url = f"http://127.0.0.1:{upstream.port}"
    direct = measure(Subject("direct", upstream), options.seconds)
    with house(directory / "house", url, TENANTS, cores, engine_slots=ENGINE_SLOTS) as made:
        ours = _ours(made, options, outcome)
        outcome.tables["stages"] = stages(made, options.seconds, outcome)
        outcome.figures += two_workers_figures(made, options.seconds / 2)
    others = list(_others(options, directory, url, cores, outcome))
    outcome.figures = [*figures_of(direct, ours, others), *outcome.figures]
    outcome.tables["measured"] = side_by_side((direct, ours, *others))
    if options.long:
        outcome.figures += memory_figures(directory / "memory", url, cores)


@contextmanager
def stub(directory: Path, cores: Cores) -> Iterator[Running]:
    """The upstream, on the load's core."""
    port = free_port()
    command = [sys.executable, "-m", "tests.bench.stub", "--port", str(port)]
    with running(command, os.environ, cores.load, directory / "stub.log", port, "/health") as found:
        yield found


def _ours(made: House, options: Options, outcome: Outcome) -> Measured:
    with made.worker() as process:
        measured = measure(Subject("graft", process, made.keys), options.seconds)
        outcome.figures += journal_figures(made, process, measured.answered)
    outcome.notes += [f"wrong: {example}" for example in measured.examples]
    return measured


def journal_figures(made: House, process: Running, answered: int) -> list[Figure]:
    """Whether every answer was journalled. The stream holds `STREAM_LENGTH` of them at most."""
    expected = min(answered, STREAM_LENGTH)
    with Redis.from_url(made.plan.redis_url) as redis:
        give_up = time.monotonic() + SETTLE_S
        while (written := int(redis.xlen(STREAM))) < expected and time.monotonic() < give_up:  # type: ignore[arg-type]
            time.sleep(0.2)
    return [Figure("answers found in the journal", written / expected, target=1.0, at_most=False)]


def stages(made: House, seconds: float, outcome: Outcome) -> Sequence[Mapping[str, Any]]:
    """Microseconds of a request and shares of the worker's processor time, by stage; a run of its own."""
    with made.worker("tests.bench.stages") as process:
        requests = Subject("stages", process, made.keys).requests()
        url = f"http://127.0.0.1:{process.port}/bench/stages"
        go(closed_loop(process.port, requests, CONNECTIONS, min(2.0, seconds)))
        httpx.get(url, trust_env=False)
        seen = go(closed_loop(process.port, requests, CONNECTIONS, seconds))
        report = httpx.get(url, trust_env=False).json()
    outcome.notes += [f"stages: {name} is gone; see tests/bench/stages.py" for name in report["missing"]]
    whole, answered = sum(report["seconds"].values()), max(1, len(seen.latencies))
    return [
        {"stage": stage, "µs per request": spent / answered * 1e6, "share": spent / whole}
        for stage, spent in report["seconds"].items()
    ]


def side_by_side(measured: Sequence[Measured]) -> Sequence[Mapping[str, Any]]:
    """A row for each thing measured, a column for each subject."""
    documents = {each.name: asdict(each) for each in measured}
    names = [name for name in asdict(measured[0]) if name not in ("name", "examples")]
    return [{"of": name, **{who: found[name] for who, found in documents.items()}} for name in names]


def _others(
    options: Options, directory: Path, url: str, cores: Cores, outcome: Outcome
) -> Iterator[Measured]:
    """The baseline, and the peers that can be had."""
    for peer in (peers.BASELINE, *(peers.PEERS if options.peers else ())):
        home = options.directory / "peers"
        try:
            peers.install(peer, home)
            with peers.started(peer, home, url, directory, cores) as process:
                measured = measure(Subject(peer.name, process, peer.keys), options.seconds)
        except BenchError as error:
            outcome.notes.append(str(error))
            continue
        outcome.notes.append(f"{peer.name} {peers.version(peer, home)}: {measured.wrong} wrong answers")
        yield measured
