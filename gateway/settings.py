"""What the gateway's processes are told by their environment (`GRAFT_*`)."""

from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from adapters.settings import Addresses

VLLM_MAX_NUM_SEQS = 256


class Settings(Addresses):
    """Of gateway and control."""

    model_config = SettingsConfigDict(extra="ignore")

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    admin_host: str = "127.0.0.1"
    admin_port: int = Field(default=8001, ge=0, le=65535)
    admin_key: SecretStr = SecretStr("")
    workers: int = Field(default=1, ge=1)
    worker_port: int = Field(default=0, ge=0, le=65535)
    """The first of the ports, one for each worker, at which it alone answers: Prometheus asks each for its own
    `/metrics`, while whoever asks at the common port gets those of some worker. 0: none."""
    max_body_bytes: int = Field(default=8 * 1024 * 1024, ge=1024)
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """Which lock `make setup` installs; auto: by the GPU that is there."""
    engine_slots: int = Field(default=0, ge=0)
    """Requests that one engine gets at once, its own --max-num-seqs. 0: what a supervised engine is started with, and
    vLLM's default elsewhere."""
    max_loras: int = Field(default=4, ge=1)
    """Distinct adapters that one engine is asked for at once, its own --max-loras."""
    tool_parser: str = Field(default="hermes", pattern=r"^[a-z0-9_.-]*$")
    """How the base model of a supervised engine writes calls of tools: vLLM's --tool-call-parser. Empty: without one
    vLLM refuses all choices of tools. Gateway and control refuse corrections that call tools under another one than
    `hermes`, in whose form calls are learned."""
    reasoning_parser: str = Field(default="", pattern=r"^[a-z0-9_.-]*$")
    """How it writes what it thinks, vLLM's --reasoning-parser. Empty: not apart from its answer."""
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
    def slots(self) -> int:
        return self.engine_slots or VLLM_MAX_NUM_SEQS
