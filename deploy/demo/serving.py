"""A vLLM of one's own, started as `graft up` starts it, for scripts and tests that need just the engine."""

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from gateway import launch, services
from gateway.credentials import Credentials
from gateway.probes import Probes
from gateway.process_files import with_scratch

READY_SECONDS = 300.0
TOKEN = "engine-token-for-this-machine-only"


@dataclass(frozen=True)
class RunningEngine:
    url: str
    token: str
    pid: int
    model: Path
    log: Path
    scratch: Path
    """Its temporary files."""


NO_STORE: Mapping[str, str] = {"GRAFT_ARTIFACTS_URL": "", "GRAFT_CONTROL_URL": ""}


@contextmanager
def engine(
    model: Path, told: Mapping[str, str] = NO_STORE, before: Sequence[str] = (), port: int = 0, **chosen: Any
) -> Iterator[RunningEngine]:
    """A ready engine serving `model`, ended with everything it started. Raises RuntimeError with the log's end.

    told: environment beside what the supervisor gives; by default the plugin has no store, and files are loaded from
    the paths that it is told. before: a command that runs the engine's. port: 0 for a free one. chosen: further
    settings, such as `max_loras`.
    """
    with tempfile.TemporaryDirectory(prefix="graft-engine-") as directory:
        log = Path(directory) / "engine.log"
        overrides = {
            "data_dir": Path(directory),
            "base_model": str(model),
            "engine_port": port or free_port(),
        } | chosen
        settings = launch.read_settings({}, overrides)
        plan = launch.make_plan(settings, Credentials(TOKEN, "", ""))
        spec = services.engine(plan, dict(os.environ), Probes())
        scratch = plan.scratch / spec.name
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*before, *spec.command],
                env={**with_scratch(spec.environment, scratch), **told},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            _wait(plan.engine_urls[0], process, log)
            yield RunningEngine(plan.engine_urls[0], TOKEN, process.pid, model, log, scratch)
        finally:
            _end(process)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + READY_SECONDS
    while process.poll() is None and time.monotonic() < until:
        try:
            if httpx.get(f"{url}/health", timeout=2, trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.5)
    raise RuntimeError(f"the engine did not become ready:\n{log.read_text(errors='replace')[-2000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """The whole process group: vLLM's children outlive a parent that is killed."""
    try:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(15)
    except subprocess.TimeoutExpired:
        pass
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        return port
