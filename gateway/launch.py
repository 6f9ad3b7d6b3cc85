"""`graft up`: turns settings into a plan, checks it, and keeps its processes running until told to stop."""

import contextlib
import hashlib
import json
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from adapters.database import connect
from adapters.settings import Settings as AdaptersSettings
from gateway import credentials, migrate, preflight
from gateway.guardian import Guardian
from gateway.launch_errors import LaunchError
from gateway.plan import Plan
from gateway.probes import Probes
from gateway.services import CPU_ENGINE_SLOTS, OWN_PREFIX, installed, services
from gateway.settings import VLLM_MAX_NUM_SEQS, Settings
from gateway.supervisor import Event, Supervisor
from gateway.tenants import TenantStore
from retrieval.settings import Settings as RetrievalSettings
from training.settings import Settings as TrainingSettings

ROOT = Path(__file__).parents[1]
SOCKETS_PATH_BYTES = 56
"""A unix socket's path may have 107 bytes; an engine's goes on with `/tmp/engine-1/` and a UUID."""
SECRET_FIELDS = frozenset({"internal_token", "engine_token", "admin_key", "database_url", "redis_url"})


@dataclass(frozen=True)
class AllSettings:
    """The four packages' settings, read from the same environment."""

    gateway: Settings
    adapters: AdaptersSettings
    retrieval: RetrievalSettings
    training: TrainingSettings


@dataclass(frozen=True)
class System:
    """A running system."""

    plan: Plan
    supervisor: Supervisor


def environment() -> Mapping[str, str]:
    """What this process was told, to be read and handed on."""
    return dict(os.environ)


def read_settings(told: Mapping[str, str], overrides: Mapping[str, Any]) -> AllSettings:
    """All settings, `overrides` (by field name) before the environment.

    Raises LaunchError naming every variable that is unknown or has a bad value; secrets are masked.
    """
    classes: Sequence[type[BaseSettings]] = (Settings, AdaptersSettings, RetrievalSettings, TrainingSettings)
    known = {f"{OWN_PREFIX}{name.upper()}" for each in classes for name in each.model_fields}
    problems = [_unknown(name, known) for name in told if name.startswith(OWN_PREFIX) and name not in known]
    made: list[Any] = []
    for each in classes:
        given = {name: value for name, value in overrides.items() if name in each.model_fields}
        try:
            made.append(each(**given))
        except ValidationError as error:
            problems += [bad_value(problem) for problem in error.errors()]
    if problems:
        raise LaunchError(
            "The settings cannot be used: " + "; ".join(dict.fromkeys(problems)) + ".",
            fix="Correct or unset these environment variables.",
        )
    return AllSettings(*made)


def _unknown(name: str, known: set[str]) -> str:
    close = get_close_matches(name, known, 1)
    return f"{name} is not known" + (f" (did you mean {close[0]}?)" if close else "")


def bad_value(problem: Any) -> str:
    """What is wrong with a setting, as pydantic tells it; a secret one is masked."""
    field = str(problem["loc"][0]) if problem["loc"] else ""
    value = "***" if field in SECRET_FIELDS else repr(problem["input"])
    return f"{OWN_PREFIX}{field.upper()}={value}: {problem['msg']}"


def make_plan(settings: AllSettings, secrets: credentials.Credentials) -> Plan:
    """Every default resolved to an absolute value."""
    gateway, adapters = settings.gateway, settings.adapters
    data_dir, gpu = gateway.data_dir.resolve(), _on_gpu(gateway)
    sockets = sockets_dir(data_dir)
    redis_url, redis_socket = gateway.redis_url, None
    if not redis_url:
        redis_socket = sockets / "redis.sock"
        redis_url = f"unix://{redis_socket}"
    return Plan(
        data_dir=data_dir,
        scratch=sockets / "tmp",
        host=gateway.host,
        port=gateway.port,
        admin_host=gateway.admin_host,
        admin_port=gateway.admin_port,
        database_url=gateway.database,
        redis_url=redis_url,
        redis_socket=redis_socket,
        engine_urls=gateway.engines,
        engine_port=None if gateway.engine_urls else gateway.engine_port,
        retrieval_url=gateway.retrieval,
        retrieval_port=None if gateway.retrieval_url else gateway.retrieval_port,
        artifacts_url=adapters.artifacts_url or (data_dir / "artifacts").as_uri(),
        base_model=Path(adapters.base_model or ROOT / "deploy" / "demo" / "model").resolve(),
        more_bases=gateway.more_bases,
        encoder=settings.retrieval.encoder_path().resolve(),
        internal_token=secrets.internal_token,
        engine_token=gateway.engine_token.get_secret_value() or secrets.internal_token,
        engine_cache=adapters.engine_cache,
        engine_cache_bytes=adapters.engine_cache_bytes,
        admin_key=secrets.admin_key,
        platform_key=secrets.platform_key,
        workers=gateway.workers,
        learner_threads=settings.training.learner_threads,
        gpu=gpu,
        learner_gpu_share=settings.training.learner_gpu_share,
        max_loras=adapters.max_loras,
        max_cpu_loras=adapters.max_cpu_loras,
        max_lora_rank=adapters.max_lora_rank,
        engine_slots=_engine_slots(gateway, gpu),
        tool_parser=gateway.tool_parser,
        reasoning_parser=gateway.reasoning_parser,
        worker_port=gateway.worker_port,
        queue_size=gateway.queue_size,
        queue_seconds=gateway.queue_seconds,
    )


def _on_gpu(settings: Settings) -> bool:
    """Whether the environment was made from gpu.lock. Raises LaunchError where the settings say otherwise."""
    gpu = installed("vllm")
    if settings.accelerator not in ("auto", "gpu" if gpu else "cpu"):
        raise LaunchError(
            f"GRAFT_ACCELERATOR is {settings.accelerator}, and .venv was not made for it.",
            fix="Run `make setup` with it set.",
        )
    return gpu


def _engine_slots(settings: Settings, gpu: bool) -> int:
    """A supervised engine is started with as many places as it gets requests."""
    on_cpu = not settings.engine_urls and not gpu
    return settings.engine_slots or (CPU_ENGINE_SLOTS if on_cpu else VLLM_MAX_NUM_SEQS)


def sockets_dir(data_dir: Path) -> Path:
    """The data directory, or, where its path is too long for sockets, another that only we may enter."""
    if len(os.fsencode(data_dir)) <= SOCKETS_PATH_BYTES:
        return data_dir
    name = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    directory = Path(tempfile.gettempdir()) / f"graft-{os.getuid()}-{name}"
    directory.mkdir(mode=0o700, exist_ok=True)
    if directory.stat().st_uid != os.getuid():
        raise LaunchError(f"{directory} belongs to somebody else.", fix="Choose a shorter --data-dir.")
    return directory


@contextlib.asynccontextmanager
async def running(settings: AllSettings, report: Callable[[Event], None]) -> AsyncIterator[System]:
    """The whole system, ready when the block is entered and ended when it is left. Raises LaunchError."""
    data_dir = settings.gateway.data_dir.resolve()
    preflight.require_disk(data_dir)
    preflight.require_writable(data_dir)
    with contextlib.ExitStack() as held:
        lock = held.enter_context(preflight.lock(data_dir))
        plan = make_plan(settings, _credentials(settings.gateway))
        preflight.require(plan)
        listening = held.enter_context(preflight.bind(plan.host, plan.port, "GRAFT_PORT"))
        listening.listen(1024)
        await _prepare(plan)
        guardian = Guardian(lock, ROOT)
        guardian.start()
        held.callback(guardian.stop)
        async with Probes() as probes:
            supervisor = _supervisor(plan, listening, guardian, probes, report)
            try:
                await supervisor.start()
                yield System(plan, supervisor)
            finally:
                listening.close()  # no worker takes anything new: whoever came would wait for the last of us to end
                await supervisor.stop()
                (data_dir / "run.json").unlink(missing_ok=True)
                shutil.rmtree(plan.scratch, ignore_errors=True)
                if plan.scratch.parent != data_dir:
                    shutil.rmtree(plan.scratch.parent, ignore_errors=True)


async def _prepare(plan: Plan) -> None:
    """The schema first, then the key of this machine's operator."""
    await migrate.upgrade(plan.database_url)
    engine = connect(plan.database_url)
    try:
        await TenantStore(engine).ensure_platform_key(plan.platform_key)
    finally:
        await engine.dispose()


def _credentials(settings: Settings) -> credentials.Credentials:
    return credentials.load_or_create(
        settings.data_dir.resolve(),
        internal_token=settings.internal_token.get_secret_value(),
        admin_key=settings.admin_key.get_secret_value(),
    )


def _supervisor(
    plan: Plan,
    listening: socket.socket,
    guardian: Guardian,
    probes: Probes,
    report: Callable[[Event], None],
) -> Supervisor:
    specs = services(plan, environment(), probes, listening.fileno())
    started_at = datetime.now(UTC)
    made = Supervisor(
        specs,
        plan.logs,
        plan.scratch,
        ROOT,
        guardian,
        report,
        lambda: _write_state(plan, made, started_at),
    )
    return made


def _write_state(plan: Plan, supervisor: Supervisor, started_at: datetime) -> None:
    """What `graft status` and other commands on this machine look up: addresses and process ids, no
    secrets."""
    state = {
        "pid": os.getpid(),
        "started_at": started_at.isoformat(),
        "gateway_url": plan.gateway_url,
        "admin_url": plan.admin_url,
        "engine_urls": plan.engine_urls,
        "retrieval_url": plan.retrieval_url,
        "base_model": str(plan.base_model),
        "processes": {
            name: {
                "pid": process.pid,
                "ready": process.ready.is_set(),
                "restarts": process.restarts,
                "log": str(process.log),
            }
            for name, process in supervisor.processes.items()
        },
    }
    temporary = plan.data_dir / "run.json.new"
    temporary.write_text(json.dumps(state, indent=2))
    temporary.replace(plan.data_dir / "run.json")
