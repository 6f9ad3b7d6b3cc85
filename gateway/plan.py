"""The values that `graft up` starts its processes with."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Plan:
    """Every value that the processes need, resolved. A URL that was configured has no process here."""

    data_dir: Path
    scratch: Path
    """Temporary files of all processes; its path leaves room for the sockets among them."""
    host: str
    port: int
    admin_host: str
    admin_port: int
    database_url: str
    redis_url: str
    redis_socket: Path | None
    """None: Redis is somebody else's."""
    engine_urls: tuple[str, ...]
    engine_port: int | None
    """None: the engines are somebody else's."""
    retrieval_url: str
    retrieval_port: int | None
    """None: retrieval is somebody else's."""
    artifacts_url: str
    base_model: Path
    more_bases: str
    """Further base models, as the setting has them."""
    encoder: Path
    internal_token: str
    engine_token: str
    engine_cache: Path
    """Where a supervised engine keeps its copies of artifacts."""
    engine_cache_bytes: int
    admin_key: str
    platform_key: str
    workers: int
    worker_port: int
    """The first worker's own; 0: none has one."""
    learner_threads: int
    gpu: bool
    """Whether the engine here is built for CUDA."""
    learner_gpu_share: float
    """The most of the GPU's memory that the learner takes."""
    max_loras: int
    max_cpu_loras: int
    max_lora_rank: int
    engine_slots: int
    """Requests that one engine gets at once."""
    tool_parser: str
    reasoning_parser: str
    queue_size: int
    queue_seconds: float

    @property
    def logs(self) -> Path:
        return self.data_dir / "logs"

    @property
    def gateway_url(self) -> str:
        return f"http://{reachable(self.host)}:{self.port}"

    @property
    def admin_url(self) -> str:
        return f"http://{reachable(self.admin_host)}:{self.admin_port}"

    def environment(self) -> dict[str, str]:
        """What every process of ours is told, so that none of them resolves a default differently."""
        return {
            "GRAFT_DATA_DIR": str(self.data_dir),
            "GRAFT_HOST": self.host,
            "GRAFT_PORT": str(self.port),
            "GRAFT_ADMIN_HOST": self.admin_host,
            "GRAFT_ADMIN_PORT": str(self.admin_port),
            "GRAFT_DATABASE_URL": self.database_url,
            "GRAFT_REDIS_URL": self.redis_url,
            "GRAFT_ENGINE_URLS": ",".join(self.engine_urls),
            "GRAFT_RETRIEVAL_URL": self.retrieval_url,
            "GRAFT_ARTIFACTS_URL": self.artifacts_url,
            "GRAFT_BASE_MODEL": str(self.base_model),
            "GRAFT_MORE_BASES": self.more_bases,
            "GRAFT_ENCODER": str(self.encoder),
            "GRAFT_INTERNAL_TOKEN": self.internal_token,
            "GRAFT_ENGINE_TOKEN": self.engine_token,
            "GRAFT_ADMIN_KEY": self.admin_key,
            "GRAFT_WORKERS": str(self.workers),
            "GRAFT_LEARNER_THREADS": str(self.learner_threads),
            "GRAFT_LEARNER_GPU_SHARE": str(self.learner_gpu_share),
            "GRAFT_MAX_LORAS": str(self.max_loras),
            "GRAFT_MAX_CPU_LORAS": str(self.max_cpu_loras),
            "GRAFT_MAX_LORA_RANK": str(self.max_lora_rank),
            "GRAFT_ENGINE_SLOTS": str(self.engine_slots),
            "GRAFT_QUEUE_SIZE": str(self.queue_size),
            "GRAFT_QUEUE_SECONDS": str(self.queue_seconds),
        }


def reachable(host: str) -> str:
    """An address to connect to for one that is listened on."""
    return "127.0.0.1" if host in ("0.0.0.0", "::", "") else host
