"""The package's settings: the only place in it that reads the environment."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from adapters.pools import parse_pools
from adapters.types import BASE_NAME
from adapters.uris import parse_uri

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
    more_bases: str = ""
    """Further base models with their replicas, as `adapters.pools` reads them."""
    engine_port: int = Field(8100, ge=1, le=65535)
    internal_token: SecretStr = SecretStr("")
    """Bearer token between our processes."""
    engine_token: SecretStr = SecretStr("")
    """What engines are asked with, and what their plugin asks control with. Empty: `internal_token`."""
    control_url: str = ""
    """For the engine's plugin: where control tells a version's digest and, without `artifacts_url`, gives its files."""
    engine_cache_dir: Path | None = None
    """For the engine's plugin: its own copies of artifacts. None: a directory below `data_dir`."""
    engine_cache_bytes: int = Field(20 * 1024**3, ge=1024)
    """The most that these copies may take."""
    max_loras: int = Field(4, ge=1)
    """Distinct adapters in one batch of the engine."""
    max_cpu_loras: int = Field(16, ge=1)
    """Adapters that the engine keeps in memory."""
    max_lora_rank: int = Field(16, ge=1)
    copies: int = Field(2, ge=1)
    """Replicas that hold a version, where there are so many; hot versions get more."""
    import_sources: str = ""
    """Where control may read adapters from, as URI prefixes separated by commas: `https://host/adapters/`,
    `s3://bucket/team/`, `file:///srv/adapters/`, `hf://owner/`. Empty: nowhere."""
    import_private_hosts: bool = False
    """Whether an `https` source may be at a private address."""
    import_max_bytes: int = Field(2 * 1024**3, ge=1024)
    """Of an imported archive, and of what it unpacks to."""

    @property
    def artifact_store(self) -> str:
        """URL of the artifact store."""
        return self.artifacts_url or (self.data_dir.resolve() / "artifacts").as_uri()

    @property
    def engine_key(self) -> str:
        """The engines' token in plain text."""
        return self.engine_token.get_secret_value() or self.internal_token.get_secret_value()

    @property
    def engine_cache(self) -> Path:
        return (self.engine_cache_dir or self.data_dir / "cache" / "engine").resolve()

    @property
    def base_path(self) -> Path:
        """Directory of the base model."""
        return Path(self.base_model) if self.base_model else _SHIPPED_BASE

    @property
    def base_paths(self) -> Mapping[str, Path]:
        """Directories of all base models, by name."""
        more = {name: pool.model for name, pool in parse_pools(self.more_bases).items()}
        return {BASE_NAME: self.base_path, **more}

    @field_validator("more_bases")
    @classmethod
    def _readable(cls, value: str) -> str:
        parse_pools(value)
        return value

    @field_validator("import_sources")
    @classmethod
    def _known_sources(cls, value: str) -> str:
        for place in _listed(value):
            parse_uri(place)
        return value

    @property
    def import_places(self) -> tuple[str, ...]:
        """The allowed URI prefixes."""
        return _listed(self.import_sources)

    @property
    def cache_dir(self) -> Path:
        """Local copies of artifacts, from which engines on this machine load."""
        return self.data_dir.resolve() / "cache" / "artifacts"

    @property
    def engines(self) -> tuple[str, ...]:
        """URLs of all replicas."""
        urls = tuple(url.rstrip("/") for url in _listed(self.engine_urls))
        return urls or (f"http://127.0.0.1:{self.engine_port}",)


def _listed(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())
