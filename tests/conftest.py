"""Parts that tests share. The engine is real and starts once per session, only if a test asks for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.demo.serving import RunningEngine
from deploy.demo.serving import engine as serve

BASE_MODEL = Path(__file__).parents[1] / "deploy" / "demo" / "model"


@pytest.fixture(scope="session")
def base_model() -> Path:
    """Directory of the shipped tiny base model."""
    return BASE_MODEL


@pytest.fixture(scope="session")
def engine(base_model: Path) -> Iterator[RunningEngine]:
    """A real vLLM serving the shipped base model as `base`, with run-time LoRA loading."""
    with serve(base_model) as running:
        yield running
