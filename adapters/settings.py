"""The package's settings: the only place in it that reads the environment."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

_SHIPPED_BASE = Path(__file__).resolve().parents[1] / "deploy" / "demo" / "model"


class Settings(BaseSettings):
    """Read from `GRAFT_…` variables. Fields that other packages share have the same name and default
    there."""

    model_config = SettingsConfigDict(env_prefix="GRAFT_", frozen=True)

    data_dir: Path = Path(".graft")
    artifacts_url: str = ""
    """Where artifacts are kept, as an fsspec URL. Empty: a directory below `data_dir`."""
    base_model: str = ""
    """Directory of the base model. Empty: the one that ships."""
    engine_urls: str = ""
    """Replicas, separated by commas. Empty: the one that the supervisor starts on `engine_port`."""
    engine_port: int = Field(8100, ge=1, le=65535)
    internal_token: SecretStr = SecretStr("")
    """Bearer token between our processes, and the engine's API key."""
    max_loras: int = Field(4, ge=1)
    """Distinct adapters in one batch of the engine."""
    max_cpu_loras: int = Field(16, ge=1)
    """Adapters that the engine keeps in memory."""
    max_lora_rank: int = Field(16, ge=1)

    @property
    def artifact_store(self) -> str:
        """URL of the artifact store."""
        return self.artifacts_url or (self.data_dir.resolve() / "artifacts").as_uri()

    @property
    def base_path(self) -> Path:
        """Directory of the base model."""
        return Path(self.base_model) if self.base_model else _SHIPPED_BASE

    @property
    def cache_dir(self) -> Path:
        """Local copies of artifacts, from which engines on this machine load."""
        return self.data_dir.resolve() / "cache" / "artifacts"

    @property
    def engines(self) -> tuple[str, ...]:
        """URLs of all replicas."""
        urls = tuple(url.strip().rstrip("/") for url in self.engine_urls.split(",") if url.strip())
        return urls or (f"http://127.0.0.1:{self.engine_port}",)
