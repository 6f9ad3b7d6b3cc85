"""The package's settings: the only place in it that reads the environment."""

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from adapters.pools import local_engine, parse_pools
from adapters.types import BASE_NAME
from adapters.uris import parse_uri

DRIVERS = ("postgresql", "postgresql+psycopg", "sqlite+aiosqlite")
"""How an SQLAlchemy URL of the record may begin."""
_SHIPPED_BASE = Path(__file__).resolve().parents[1] / "deploy" / "demo" / "model"


class Addresses(BaseSettings):
    """Where the parts of a deployment are, for whoever asks them. Empty URLs mean the embedded part under `data_dir`;
    the properties resolve them."""

    model_config = SettingsConfigDict(env_prefix="GRAFT_", frozen=True, hide_input_in_errors=True)

    data_dir: Path = Path(".graft")
    database_url: str = ""
    redis_url: str = ""
    engine_urls: str = ""
    """Replicas, separated by commas. Empty: the one that the supervisor starts on `engine_port`."""
    engine_port: int = Field(8100, ge=1, le=65535)
    more_bases: str = ""
    """Further base models with their replicas, as `adapters.pools` reads them."""
    retrieval_url: str = ""
    retrieval_port: int = Field(8200, ge=1, le=65535)
    internal_token: SecretStr = SecretStr("")
    """Bearer token between our processes."""
    engine_token: SecretStr = SecretStr("")
    """What engines are asked with, and what their plugin asks control with. Empty: `internal_token`."""

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
        return _urls(self.engine_urls) or (local_engine(self.engine_port),)

    @property
    def pools(self) -> Mapping[str, tuple[str, ...]]:
        """URLs of the replicas by the name of their base model."""
        more = parse_pools(self.more_bases)
        return {BASE_NAME: self.engines, **{name: pool.engines for name, pool in more.items()}}

    @field_validator("database_url")
    @classmethod
    def _ours(cls, value: str) -> str:
        driver = value.partition("://")[0]
        if value and driver not in DRIVERS:
            raise ValueError(f"the URL begins with {' or '.join(f'{each}://' for each in DRIVERS)}")
        return value

    @field_validator("more_bases")
    @classmethod
    def _readable(cls, value: str, info: ValidationInfo) -> str:
        port = info.data.get("engine_port")  # None: it has a bad value, which is told by itself
        started = () if port is None else (local_engine(port),)
        parse_pools(value, _urls(info.data["engine_urls"]) or started)
        return value

    @property
    def engine_key(self) -> str:
        """The engines' token in plain text."""
        return self.engine_token.get_secret_value() or self.internal_token.get_secret_value()

    @property
    def retrieval(self) -> str:
        return self.retrieval_url.rstrip("/") or f"http://127.0.0.1:{self.retrieval_port}"


class Settings(Addresses):
    """Read from `GRAFT_…` variables."""

    artifacts_url: str = ""
    """Where artifacts are kept, as an fsspec URL. Empty: a directory below `data_dir`."""
    base_model: str = ""
    """Directory of the base model. Empty: the one that ships."""
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
    import_seconds: float = Field(1800.0, gt=0)
    """The most that an import may take, from the request until its adapter is found right; to keep it takes as long as
    the artifact store needs."""

    @property
    def artifact_store(self) -> str:
        """URL of the artifact store."""
        return self.artifacts_url or (self.data_dir.resolve() / "artifacts").as_uri()

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


def environment_of_others() -> dict[str, str]:
    """What this process was told without what is ours, secrets among it: for a process that needs none of it."""
    return {name: value for name, value in os.environ.items() if not name.upper().startswith("GRAFT_")}


def _listed(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _urls(value: str) -> tuple[str, ...]:
    return tuple(url.rstrip("/") for url in _listed(value))
