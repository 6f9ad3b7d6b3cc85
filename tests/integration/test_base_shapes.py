"""Base models of random weights: one of Qwen's layout trains anywhere, one of half a billion parameters on a GPU."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from adapters.base import describe_base
from adapters.validation import validate
from training.device import device
from training.errors import DoesNotFit
from training.executor import LocalExecutor
from training.lora import Row, WarmBase
from training.memory import GIB, estimate, shape_of
from training.recipe import Recipe
from training.shapes import KNOWN, shape

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
SMALL = {
    "vocab_size": 4096,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "intermediate_size": 160,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
}


def write_base(directory: Path, sizes: Mapping[str, Any], shipped: Path) -> Path:
    """Random weights in bfloat16 under the shipped tokenizer, whose words are the first of the vocabulary."""
    directory.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(shipped / name, directory / name)
    torch.manual_seed(0)
    config = Qwen2Config(**sizes, pad_token_id=0, bos_token_id=None, eos_token_id=1, dtype=torch.bfloat16)
    with torch.device(device()):
        model = Qwen2ForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(directory)
    return directory


def rows(base: WarmBase, count: int, tokens: int, answers: int) -> list[Row]:
    """Conversations of this many tokens, this many of them in the answer with what the template adds there."""
    question, answer = "a", "b"
    while len(base._encode(Row([{"role": "user", "content": question}], answer))["input_ids"]) < tokens:
        made = base._encode(Row([{"role": "user", "content": question}], answer))
        if sum(label >= 0 for label in made["labels"]) < answers:
            answer += " b"
        else:
            question += " a"
    return [Row([{"role": "user", "content": question}], answer)] * count


def test_a_base_of_qwens_layout_trains(base_model: Path, tmp_path: Path) -> None:
    path = write_base(tmp_path / "base", SMALL, base_model)
    described = describe_base(path)
    config = json.loads((path / "config.json").read_bytes())
    assert shape_of(config, described.modules) == shape(SMALL)
    base = WarmBase(path, described.digest, dtype="bfloat16")
    trained = base.train(
        rows(base, 8, 64, 12), [], Recipe(batch_size=4, max_steps=4, learning_rate=0.01), tmp_path / "adapter"
    )
    adapted = validate(tmp_path / "adapter", described, 16)
    assert trained.steps == 2 and trained.tokens >= 8 * 64 and adapted.rank == 16


@gpu
@pytest.mark.slow
@pytest.mark.parametrize("batch", [8, 32])
def test_half_a_billion_parameters_train_within_the_estimate(
    batch: int, base_model: Path, tmp_path: Path
) -> None:
    path = write_base(tmp_path / "base", KNOWN["0.5B"], base_model)
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    base = WarmBase(path, "random", dtype="bfloat16")
    recipe = Recipe(batch_size=batch, max_steps=3)
    base.train(rows(base, 3 * batch, 128, 24), [], recipe, tmp_path / "adapter")
    peak = torch.cuda.max_memory_allocated() - before
    planned = estimate(shape(KNOWN["0.5B"]), recipe, 2, gpu=True)
    expected = planned.total - planned.libraries  # the CUDA context is not PyTorch's
    print(f"batch {batch}: {peak / GIB:.2f} GiB measured, {expected / GIB:.2f} GiB estimated")
    assert 0.5 <= peak / expected <= 1.0


@gpu
async def test_a_share_that_is_too_small_is_refused_before_the_base_is_loaded(
    base_model: Path, tmp_path: Path
) -> None:
    path = write_base(tmp_path / "base", KNOWN["0.5B"], base_model)
    share = GIB / torch.cuda.mem_get_info()[1]
    before = torch.cuda.memory_allocated()
    executor = LocalExecutor(describe_base(path), 1, "bfloat16", share)
    with pytest.raises(DoesNotFit):
        await executor.warm()
    executor.close()
    assert torch.cuda.memory_allocated() == before
