"""What the gateway is compared with: how each is installed, started and pointed at the stub."""

import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.processes import BenchError, Cores, Running, free_port, running

FASTAPI = "fastapi+httpx"
INSTALL_S = 900


@dataclass(frozen=True)
class Peer:
    """command: from the peer's Python, its port, another free port, the stub's URL and a directory to write into."""

    name: str
    command: Callable[[Path, int, int, str, Path], Sequence[str]]
    requirement: str = ""
    """What pip installs into the peer's own environment; empty: it runs in ours."""
    health: str = "/health"
    environment: Mapping[str, str] = field(default_factory=dict)
    keys: Sequence[str] = ()
    """Bearer keys that it wants; none: it takes whatever comes."""

    def python(self, home: Path) -> Path:
        return home / self.name / "bin" / "python" if self.requirement else Path(sys.executable)


def _fastapi(python: Path, port: int, _other: int, _upstream: str, _directory: Path) -> Sequence[str]:
    return [str(python), "-m", "uvicorn", "tests.bench.baseline_app:app", "--host", "127.0.0.1",
            "--port", str(port), "--no-access-log", "--log-level", "warning"]  # fmt: skip


def _sglang(python: Path, port: int, other: int, upstream: str, _directory: Path) -> Sequence[str]:
    return [str(python), "-m", "sglang_router.launch_router", "--host", "127.0.0.1", "--port", str(port),
            "--worker-urls", upstream, "--policy", "round_robin", "--log-level", "warn",
            "--prometheus-port", str(other), "--max-concurrent-requests", "4096"]  # fmt: skip


def _vllm(python: Path, port: int, other: int, upstream: str, _directory: Path) -> Sequence[str]:
    return [str(python), "-m", "vllm_router.launch_router", "--host", "127.0.0.1", "--port", str(port),
            "--worker-urls", upstream, "--policy", "round_robin", "--log-level", "warning",
            "--prometheus-port", str(other), "--max-concurrent-requests", "4096"]  # fmt: skip


def _litellm(python: Path, port: int, _other: int, upstream: str, directory: Path) -> Sequence[str]:
    parameters = {"model": "hosted_vllm/default", "api_base": f"{upstream}/v1", "api_key": "none"}
    config = directory / "litellm.json"
    config.write_text(json.dumps({"model_list": [{"model_name": "default", "litellm_params": parameters}]}))
    return [str(python.with_name("litellm")), "--config", str(config), "--host", "127.0.0.1",
            "--port", str(port), "--num_workers", "1", "--telemetry", "False"]  # fmt: skip


MASTER_KEY = f"sk-{secrets.token_hex(32)}"
"""LiteLLM does not start without one. It lives as long as this run."""
BASELINE = Peer(FASTAPI, _fastapi)
PEERS = (
    Peer("sglang-router", _sglang, "sglang-router==0.3.2"),
    Peer("vllm-router", _vllm, "vllm-router==0.1.17"),
    Peer(
        "litellm",
        _litellm,
        "litellm[proxy]==1.106.2",
        health="/health/liveliness",
        environment={
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_LOG": "ERROR",
            "LITELLM_MODE": "PRODUCTION",
            "LITELLM_MASTER_KEY": MASTER_KEY,
        },
        keys=(MASTER_KEY,),
    ),
)


def install(peer: Peer, home: Path) -> None:
    """Into an environment of its own, once. Raises BenchError when the package cannot be had."""
    python = peer.python(home)
    done = home / peer.name / "installed"
    if not peer.requirement or done.exists():
        return
    steps = (
        [sys.executable, "-m", "venv", str(home / peer.name)],
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", peer.requirement],
    )
    for step in steps:
        try:
            subprocess.run(step, check=True, capture_output=True, text=True, timeout=INSTALL_S)
        except subprocess.CalledProcessError as error:
            raise BenchError(f"{peer.name} cannot be installed: {_reason(error.stderr)}") from error
        except subprocess.TimeoutExpired as error:
            raise BenchError(f"{peer.name} was not installed within {INSTALL_S} s") from error
    done.touch()


def _reason(output: str) -> str:
    """pip's last error, without its lists of versions."""
    errors = [line for line in output.splitlines() if line.startswith("ERROR")]
    return (errors or output.splitlines() or ["no reason given"])[-1][:200]


def version(peer: Peer, home: Path) -> str:
    """The installed version, for the report."""
    name = re.split(r"[\[=]", peer.requirement)[0] or "fastapi"
    script = f"from importlib.metadata import version; print(version({name!r}))"
    command = [str(peer.python(home)), "-c", script]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@contextmanager
def started(peer: Peer, home: Path, upstream: str, directory: Path, cores: Cores) -> Iterator[Running]:
    """The peer alone on the proxy's core."""
    port = free_port()
    command = peer.command(peer.python(home), port, free_port(), upstream, directory)
    environment = {**os.environ, **peer.environment, "UPSTREAM": upstream}
    with running(
        command, environment, cores.proxy, directory / f"{peer.name}.log", port, peer.health
    ) as found:
        yield found
