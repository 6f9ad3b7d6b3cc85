"""What the gateway's processes are told by their environment (`GRAFT_*`)."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from adapters.pools import parse_pools
from adapters.types import BASE_NAME

VLLM_MAX_NUM_SEQS = 256


class Settings(BaseSettings):
    """Empty URLs mean the embedded part under `data_dir`; the properties resolve them."""

    model_config = SettingsConfigDict(env_prefix="GRAFT_", frozen=True, extra="ignore")

    data_dir: Path = Path(".graft")
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    admin_host: str = "127.0.0.1"
    admin_port: int = Field(default=8001, ge=0, le=65535)
    database_url: str = ""
    redis_url: str = ""
    engine_urls: str = ""
    """Comma-separated; empty: one supervised engine on `engine_port`."""
    engine_port: int = Field(default=8100, ge=1, le=65535)
    more_bases: str = ""
    """Further base models with their replicas, as `adapters.pools` reads them."""
    retrieval_url: str = ""
    retrieval_port: int = Field(default=8200, ge=1, le=65535)
    internal_token: SecretStr = SecretStr("")
    """Bearer token between our own processes."""
    engine_token: SecretStr = SecretStr("")
    """What engines are asked with, and what their plugin asks control with. Empty: `internal_token`."""
    admin_key: SecretStr = SecretStr("")
    workers: int = Field(default=1, ge=1)
    max_body_bytes: int = Field(default=8 * 1024 * 1024, ge=1024)
    engine_slots: int = Field(default=0, ge=0)
    """Requests that one engine gets at once, its own --max-num-seqs. 0: what a supervised engine is started with, and
    vLLM's default elsewhere."""
    max_loras: int = Field(default=4, ge=1)
    """Distinct adapters that one engine is asked for at once, its own --max-loras."""
    queue_size: int = Field(default=1024, ge=1)
    """Requests that may wait for an engine in one worker."""
    queue_seconds: float = Field(default=30.0, gt=0)
    """How long a request may wait for an engine."""
    engine_timeout_seconds: float = Field(default=600.0, gt=0)
    """Longest silence of an engine in the middle of an answer."""
    journal_days: float = Field(default=90.0, gt=0)
    """How long interactions are kept."""
    stream_keep_alive_seconds: float = Field(default=15.0, gt=0)
    """Longest silence of a stream towards the client; then a comment is sent."""
    webhook_private_hosts: bool = False
    """Whether webhooks may go over plain HTTP and to private addresses."""

    client_patience_seconds: float = Field(default=30.0, gt=0)
    """How long a client may stall while it sends a request or should read its answer; then it is cut off."""

    drain_seconds: int = Field(default=25, ge=1, le=25)
    """How long a stopping worker lets its requests finish; the rest of its half minute is for closing."""

    otlp_url: str = ""
    """Where spans of generation requests go, over OTLP/HTTP (http://collector:4318/v1/traces). Empty: nowhere."""

    @property
    def database(self) -> str:
        """SQLAlchemy URL of the record."""
        path = self.data_dir.resolve() / "graft.db"
        return self.database_url or f"sqlite+aiosqlite:///{path}?timeout=30"

    @property
    def redis(self) -> str:
        return self.redis_url or f"unix://{self.data_dir.resolve() / 'redis.sock'}"

    @property
    def engines(self) -> tuple[str, ...]:
        """URLs of the first base model's replicas without a trailing slash, at least one."""
        return _listed(self.engine_urls) or (f"http://127.0.0.1:{self.engine_port}",)

    @field_validator("more_bases")
    @classmethod
    def _readable(cls, value: str, info: ValidationInfo) -> str:
        parse_pools(value, _listed(info.data["engine_urls"]))
        return value

    @property
    def pools(self) -> Mapping[str, tuple[str, ...]]:
        """URLs of the replicas by the name of their base model."""
        more = parse_pools(self.more_bases)
        return {BASE_NAME: self.engines, **{name: pool.engines for name, pool in more.items()}}

    @property
    def engine_key(self) -> str:
        """The engines' token in plain text."""
        return self.engine_token.get_secret_value() or self.internal_token.get_secret_value()

    @property
    def slots(self) -> int:
        return self.engine_slots or VLLM_MAX_NUM_SEQS

    @property
    def retrieval(self) -> str:
        return self.retrieval_url.rstrip("/") or f"http://127.0.0.1:{self.retrieval_port}"


def _listed(urls: str) -> tuple[str, ...]:
    return tuple(url.strip().rstrip("/") for url in urls.split(",") if url.strip())
