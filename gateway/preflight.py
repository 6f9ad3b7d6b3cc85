"""What must hold before anything starts, each failure with the way out of it. `graft doctor` asks the
same."""

import contextlib
import fcntl
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from adapters.pools import parse_pools
from gateway.accelerator import require_gpu
from gateway.authorities import trusted
from gateway.launch_errors import LaunchError
from gateway.plan import Plan
from gateway.services import redis_server

MIN_FREE_BYTES = 512 * 1024 * 1024
LOCK_WAIT_SECONDS = 12.0
"""Longer than a guardian takes to end what a killed supervisor has left."""
MODEL_FILES = ("config.json", "tokenizer.json")


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `fix` is empty when all is well."""

    subject: str
    ok: bool
    detail: str
    fix: str = ""


def require_model(path: Path) -> None:
    missing = [name for name in MODEL_FILES if not (path / name).is_file()]
    if not any(path.glob("*.safetensors")):
        missing.append("*.safetensors")
    if missing:
        raise LaunchError(
            f"The base model at {path} has no {', '.join(missing)}.",
            fix="Set GRAFT_BASE_MODEL, or `model` in GRAFT_MORE_BASES, to a Hugging Face model directory, or restore "
            "the shipped one (git checkout deploy/demo/model).",
        )


def refuse_second_engine(name: str) -> None:
    """Raises LaunchError."""
    raise LaunchError(
        f"On a GPU only the first base model's engine is started here, beside the learner; {name} has a port.",
        fix="Start its engine elsewhere and name it by `engines` in GRAFT_MORE_BASES, instead of `port`.",
    )


def require_encoder(path: Path) -> None:
    if not (path / "config.json").is_file():
        raise LaunchError(
            f"There is no encoder at {path}.",
            fix="Run `make setup`, or set GRAFT_ENCODER to a sentence-transformers directory.",
        )


def require_disk(directory: Path) -> None:
    """Looks at the nearest directory that exists, so that it can be asked before anything is made."""
    while not directory.exists():
        directory = directory.parent
    free = shutil.disk_usage(directory).free
    if free < MIN_FREE_BYTES:
        raise LaunchError(
            f"Only {free // 2**20} MiB are free where {directory} is.",
            fix=f"Free at least {MIN_FREE_BYTES // 2**20} MiB, or choose another place with --data-dir.",
        )


def require_writable(data_dir: Path) -> None:
    """Makes the data directory with its parts; it holds secrets, so that only its owner may look."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        for part in ("logs", "redis", "artifacts"):
            (data_dir / part).mkdir(exist_ok=True)
        probe = data_dir / ".writable"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise LaunchError(
            f"{data_dir} cannot be written to ({error.strerror or error}).",
            fix="Choose another place with --data-dir.",
        ) from error


def require_port(host: str, port: int, variable: str) -> None:
    """Binds and lets go: what is refused here would be refused to the process as well."""
    bind(host, port, variable).close()


def bind(host: str, port: int, variable: str) -> socket.socket:
    """A socket bound to the address, not listening yet. Raises LaunchError naming who holds the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except OSError as error:
        made.close()
        raise LaunchError(
            f"Port {port} on {host or 'all addresses'} cannot be used ({error.strerror}{_holder(port)}).",
            fix=f"Stop that process, or set {variable} to a free port.",
        ) from error
    return made


def _holder(port: int) -> str:
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections(kind="tcp"):
            mine = getattr(connection.laddr, "port", None) == port
            if mine and connection.status == psutil.CONN_LISTEN and connection.pid:
                return f": held by {psutil.Process(connection.pid).name()}, process {connection.pid}"
    return ""


@contextlib.contextmanager
def lock(data_dir: Path, wait_s: float = LOCK_WAIT_SECONDS) -> Iterator[int]:
    """Hold the data directory for one supervisor; yields the lock's descriptor."""
    path = data_dir / "lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not _lock(descriptor, 0.0):
            holder = path.read_text().strip()
            if holder.isdigit() and psutil.pid_exists(int(holder)):
                raise _in_use(data_dir, holder)
            if not _lock(descriptor, wait_s):
                raise _in_use(data_dir, holder)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int, wait_s: float) -> bool:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.1)
        else:
            return True


def _in_use(data_dir: Path, holder: str) -> LaunchError:
    return LaunchError(
        f"{data_dir} is in use by another `graft up` (process {holder or 'unknown'}).",
        fix="Stop that one, or choose another --data-dir.",
    )


def running(data_dir: Path) -> bool:
    """Whether a supervisor holds this data directory."""
    path = data_dir / "lock"
    if not path.exists():
        return False
    descriptor = os.open(path, os.O_RDWR)
    try:
        return not _lock(descriptor, 0.0)
    finally:
        os.close(descriptor)


def ports(plan: Plan) -> list[tuple[str, int, str]]:
    """Address, port and variable of everything that will listen, but for the gateway's own socket."""
    wanted = [(plan.admin_host, plan.admin_port, "GRAFT_ADMIN_PORT")]
    if plan.engine_port is not None:
        wanted.append(("127.0.0.1", plan.engine_port, "GRAFT_ENGINE_PORT"))
    for pool in parse_pools(plan.more_bases).values():
        if pool.port is not None:
            wanted.append(("127.0.0.1", pool.port, "`port` in GRAFT_MORE_BASES"))
    if plan.retrieval_port is not None:
        wanted.append(("127.0.0.1", plan.retrieval_port, "GRAFT_RETRIEVAL_PORT"))
    return wanted


def require(plan: Plan) -> None:
    """Everything that can be known before a start. Raises LaunchError for the first thing that is wrong."""
    for _, check, _ in checks(plan):
        check()


def checks(plan: Plan) -> list[tuple[str, Callable[[], object], str]]:
    """Subject, check (raises LaunchError) and what to say when it passes."""
    found: list[tuple[str, Callable[[], object], str]] = [
        ("disk", lambda: require_disk(plan.data_dir), "enough free space"),
        ("data directory", lambda: require_writable(plan.data_dir), str(plan.data_dir)),
        ("certificate authorities", trusted, "readable"),
        ("encoder", lambda: require_encoder(plan.encoder), str(plan.encoder)),
    ]
    if plan.engine_port is not None:
        found.append(("base model", lambda: require_model(plan.base_model), str(plan.base_model)))
        if plan.gpu:
            fits = partial(require_gpu, plan.base_model, plan.learner_gpu_share)
            found.append(("gpu", fits, "the base model fits"))
    for name, pool in parse_pools(plan.more_bases).items():
        found.append((f"base model {name}", partial(require_model, pool.model), str(pool.model)))
        if pool.port is not None and plan.gpu:
            found.append((f"gpu for {name}", partial(refuse_second_engine, name), ""))
    if plan.redis_socket is not None:
        found.append(("redis-server", redis_server, "found"))
    for host, port, variable in ports(plan):
        found.append((f"port {port}", _port_check(host, port, variable), "free"))
    return found


def _port_check(host: str, port: int, variable: str) -> Callable[[], None]:
    return lambda: require_port(host, port, variable)


def examine(plan: Plan) -> list[Finding]:
    """All checks, none of which stops the others."""
    findings = []
    for subject, check, fine in checks(plan):
        try:
            check()
        except LaunchError as error:
            findings.append(Finding(subject, False, error.message, error.fix))
        else:
            findings.append(Finding(subject, True, fine))
    return findings


def read_state(data_dir: Path) -> dict[str, object]:
    """What the last supervisor wrote about its processes; empty when there was none."""
    try:
        state: dict[str, object] = json.loads((data_dir / "run.json").read_text())
    except (OSError, ValueError):
        return {}
    return state
