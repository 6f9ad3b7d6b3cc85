"""Drift and merges against PEFT's own numbers, on models and adapters that PEFT and transformers wrote."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import peft
import pytest
import torch
from peft.tuners.lora import LoraLayer
from transformers import LlamaConfig, LlamaForCausalLM

from adapters.base import BaseModel, describe_base
from adapters.drift import Factors, base_norms, drift, read_factors, similarity
from adapters.merge import Merging, merge
from adapters.validation import validate

MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
ADAPTERS = {
    "patterned": peft.LoraConfig(
        r=2,
        lora_alpha=3,
        target_modules=["q_proj", "up_proj"],
        rank_pattern={"layers.1.mlp.up_proj": 4},
        alpha_pattern={"up_proj": 7, "layers.0.self_attn.q_proj": 1},
        init_lora_weights=False,
    ),
    "stabilised": peft.LoraConfig(
        r=5,
        lora_alpha=9,
        target_modules=["q_proj", "v_proj", "down_proj"],
        use_rslora=True,
        rank_pattern={"q_proj": 3},
        alpha_pattern={"1.mlp.down_proj": 2},
        init_lora_weights=False,
    ),
    "partial": peft.LoraConfig(
        r=3, target_modules=["up_proj"], layers_to_transform=[1], init_lora_weights=False
    ),
}
"""Different ranks, scales and layers. PEFT gives a merge the first one's rank stabilisation, so that is a plain one."""


@dataclass(frozen=True)
class Home:
    base: BaseModel
    model: peft.PeftModel
    factors: Mapping[str, Mapping[str, Factors]]
    """By adapter, as they are read from PEFT's files."""


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def home(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A base model whose embeddings are, or are not, its output layer too, and adapters of it."""
    directory: Path = tmp_path_factory.mktemp("peft")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=40,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=request.param,
    )
    LlamaForCausalLM(config).save_pretrained(directory / "base")
    (directory / "base" / "tokenizer.json").write_text("{}")
    base = describe_base(directory / "base")
    names = iter(ADAPTERS)
    first = next(names)
    model = peft.get_peft_model(
        LlamaForCausalLM.from_pretrained(directory / "base"), deepcopy(ADAPTERS[first]), adapter_name=first
    )
    for name in names:
        model.add_adapter(name, deepcopy(ADAPTERS[name]))
    model.save_pretrained(directory)
    factors = {}
    for name in ADAPTERS:
        validate(directory / name, base, max_rank=8)
        factors[name] = read_factors(directory / name, base)
    return Home(base, model, factors)


def changes(model: peft.PeftModel, adapter: str) -> Mapping[str, np.ndarray]:
    """ΔW of each layer that PEFT changes by this adapter."""
    with torch.no_grad():
        return {
            name.removeprefix("base_model.model."): layer.get_delta_weight(adapter).numpy().astype(np.float64)
            for name, layer in model.named_modules()
            if isinstance(layer, LoraLayer) and adapter in layer.lora_A
        }


def dense(factors: Factors) -> np.ndarray:
    return factors.scale * factors.up @ factors.down


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_drift_is_that_of_pefts_own_changes_and_of_the_loaded_weights(
    home: Home, tmp_path: Path, adapter: str
) -> None:
    loaded = LlamaForCausalLM.from_pretrained(home.base.path).state_dict()
    weights = {
        name.removesuffix(".weight"): float(tensor.double().norm())
        for name, tensor in loaded.items()
        if name.endswith(tuple(f"{module}.weight" for module in MODULES))
    }
    moved = {name: float(np.linalg.norm(change)) for name, change in changes(home.model, adapter).items()}
    found = drift(home.factors[adapter], base_norms(home.base, tmp_path))
    assert found.modules == pytest.approx({name: size / weights[name] for name, size in moved.items()})
    assert len(weights) == 14
    assert found.total == pytest.approx(
        np.hypot.reduce([*moved.values()]) / np.hypot.reduce([*weights.values()])
    )


def test_similarity_is_the_cosine_of_pefts_own_changes(home: Home) -> None:
    one, other = (changes(home.model, name) for name in ("patterned", "stabilised"))
    product = sum((one[name] * other[name]).sum() for name in one.keys() & other.keys())
    sizes = [np.sqrt(sum((change**2).sum() for change in each.values())) for each in (one, other)]
    found = similarity(home.factors["patterned"], home.factors["stabilised"])
    assert found.total == pytest.approx(product / np.prod(sizes))


@pytest.mark.parametrize(
    ("method", "pefts"),
    [
        ("linear", "svd"),
        ("ties", "ties_svd"),
        ("dare_linear", "dare_linear_svd"),
        ("dare_ties", "dare_ties_svd"),
    ],
)
@pytest.mark.parametrize("rank", [2, 8])
def test_merges_are_pefts_own(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, pefts: str, rank: int
) -> None:
    def thrown(chances: torch.Tensor) -> torch.Tensor:
        """The same coins for PEFT's layers and ours, which come in another order."""
        coins = torch.Generator().manual_seed(chances.numel())
        return (torch.rand(chances.shape, generator=coins) < chances).float()

    monkeypatch.setattr(torch, "bernoulli", thrown)
    weights = {"patterned": 0.7, "stabilised": 1.6, "partial": 0.4}
    parts = [(home.factors[name], weight) for name, weight in weights.items()]
    merge(parts, Merging(method, density=0.4, rank=rank), home.base, tmp_path)
    found = read_factors(tmp_path, home.base)
    home.model.add_weighted_adapter(
        [*weights], [*weights.values()], "merged", combination_type=pefts, svd_rank=rank, density=0.4
    )
    wanted = changes(home.model, "merged")
    home.model.delete_adapter("merged")
    assert wanted and wanted.keys() <= found.keys()
    for name, change in wanted.items():
        assert dense(found[name]) == pytest.approx(change, abs=1e-4 * np.abs(change).max()), name
    assert not any(np.any(dense(found[name])) for name in found.keys() - wanted.keys())
