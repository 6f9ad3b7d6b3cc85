"""What the learner is told by its environment (`GRAFT_*`). The only module of the package that reads it."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from adapters.settings import Addresses

Dtype = Literal["float32", "bfloat16"]
_SHIPPED_BASE = Path(__file__).resolve().parents[1] / "deploy" / "demo" / "model"


class Settings(Addresses):
    """Fields that other packages share have the same name and default there."""

    model_config = SettingsConfigDict(extra="ignore")

    artifacts_url: str = ""
    base_model: str = ""
    max_loras: int = Field(4, ge=1)
    """Distinct adapters in one batch of the engine."""
    max_lora_rank: int = Field(16, ge=1)
    learner_threads: int = Field(1, ge=1)
    """Processor threads of a training run."""
    learner_dtype: Dtype = "float32"
    """How training holds the frozen base model. `bfloat16` takes half the memory: for bases of billions of
    parameters."""
    learner_gpu_share: float = Field(0.45, gt=0, le=1)
    """The most of the first GPU's memory that training takes, where there is a GPU. A supervised engine is started with
    the rest, less a twentieth."""
    anchors_file: str = ""
    """JSON lines {messages, answer}: the base model's own answers, replayed in training. Empty:
    `anchors.jsonl` beside the base model, if it is there."""
    probes_file: str = ""
    """JSON lines {kind, messages, answer} that the gate asks and no run trains on. Empty: `probes.jsonl`
    beside the base model, if it is there."""

    @property
    def artifact_store(self) -> str:
        return self.artifacts_url or (self.data_dir.resolve() / "artifacts").as_uri()

    @property
    def cache_dir(self) -> Path:
        """Local copies of artifacts, from which engines on this machine load."""
        return self.data_dir.resolve() / "cache" / "artifacts"

    @property
    def runs_dir(self) -> Path:
        """Where a run writes while it works; emptied when it ends."""
        return self.data_dir.resolve() / "runs"

    @property
    def base_path(self) -> Path:
        return Path(self.base_model) if self.base_model else _SHIPPED_BASE

    @property
    def anchors(self) -> Path:
        return Path(self.anchors_file) if self.anchors_file else self.base_path / "anchors.jsonl"

    @property
    def probes(self) -> Path:
        return Path(self.probes_file) if self.probes_file else self.base_path / "probes.jsonl"
