"""Processes with a core of their own, and what they use of it."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

ROOT = Path(__file__).parents[2]
STOP_S = 40.0


class BenchError(Exception):
    """The measurement cannot be made; the message says why."""


@dataclass(frozen=True)
class Cores:
    """Where things run: the proxy alone on one core, all that belongs to the measurement on the other."""

    load: int
    proxy: int

    @classmethod
    def of_this_machine(cls) -> "Cores":
        """Raises BenchError when only one core may be used."""
        allowed = sorted(os.sched_getaffinity(0))
        if len(allowed) < 2:
            raise BenchError("the proxy and the load need a core each, and only one may be used here")
        return cls(allowed[0], allowed[-1])


@dataclass(frozen=True)
class Running:
    pid: int
    port: int
    log: Path
    ready_s: float
    """From its start until it answered that it is healthy."""

    def cpu_s(self) -> float:
        """Processor time of the process and its children so far, all threads."""
        return sum(used.user + used.system for used in (each.cpu_times() for each in self._all()))

    def rss(self) -> int:
        """Bytes in memory, children included."""
        return sum(int(each.memory_info().rss) for each in self._all())

    def _all(self) -> list[psutil.Process]:
        process = psutil.Process(self.pid)
        return [process, *process.children(recursive=True)]


@contextmanager
def spawned(
    command: Sequence[str], environment: Mapping[str, str], core: int, log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A process group on one core, ended with everything it started."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(command),
            env=dict(environment),
            cwd=ROOT,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
    try:
        yield process
    finally:
        _end(process)


@contextmanager
def running(
    command: Sequence[str],
    environment: Mapping[str, str],
    core: int,
    log: Path,
    port: int,
    health: str = "/healthz",
    ready_within_s: float = 120.0,
) -> Iterator[Running]:
    """A server that answers on its health route. Raises BenchError with its log's end."""
    start = time.monotonic()
    with spawned(command, environment, core, log) as process:
        while not _healthy(port, health):
            if process.poll() is not None or time.monotonic() > start + ready_within_s:
                end = log.read_text(errors="replace")[-1500:]
                raise BenchError(f"{command[0]} did not become ready:\n{end}")
            time.sleep(0.02)
        yield Running(process.pid, port, log, time.monotonic() - start)


def _healthy(port: int, path: str) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=2, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(STOP_S)
        except (subprocess.TimeoutExpired, ProcessLookupError):
            continue
    process.wait()


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        return port
