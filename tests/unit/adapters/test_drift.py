"""Products of low-rank factors against the dense matrices that they stand for."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from adapters.base import BaseModel, describe_base
from adapters.drift import Factors, base_norms, drift, read_factors, similarity
from adapters.errors import BadBaseModel
from tests.unit.adapters.conftest import WriteAdapter, lora_config, lora_tensors


def made(seed: int, rank: int = 3, scale: float = 2.0) -> Factors:
    random = np.random.default_rng(seed)
    return Factors(random.normal(size=(rank, 8)), random.normal(size=(16, rank)), scale)


def dense(factors: Factors) -> np.ndarray:
    return factors.scale * factors.up @ factors.down


@pytest.mark.parametrize("ranks", [(1, 1), (3, 3), (2, 5)])
def test_the_product_of_two_changes_is_that_of_their_dense_matrices(ranks: tuple[int, int]) -> None:
    one, other = made(1, ranks[0], 0.5), made(2, ranks[1], 4.0)
    assert one.dot(other) == pytest.approx((dense(one) * dense(other)).sum())


def test_drift_is_the_ratio_of_dense_norms() -> None:
    adapter, norms = {"a": made(1), "b": made(2)}, {"a": 3.0, "b": 4.0, "c": 12.0}
    sizes = {name: float(np.linalg.norm(dense(factors))) for name, factors in adapter.items()}
    found = drift(adapter, norms)
    assert found.modules == pytest.approx({name: size / norms[name] for name, size in sizes.items()})
    assert found.total == pytest.approx(np.hypot(*sizes.values()) / 13.0)


def test_similarity_is_the_cosine_of_dense_changes() -> None:
    one, other = {"a": made(1), "b": made(2)}, {"b": made(3, rank=5), "c": made(4)}
    found = similarity(one, other)
    cosine = (dense(one["b"]) * dense(other["b"])).sum()
    sizes = [np.sqrt(sum((dense(f) ** 2).sum() for f in each.values())) for each in (one, other)]
    assert found.total == pytest.approx(cosine / (sizes[0] * sizes[1]))
    single = np.linalg.norm(dense(one["b"])) * np.linalg.norm(dense(other["b"]))
    assert found.modules == pytest.approx({"b": cosine / single})


def test_an_adapter_is_like_itself_and_unlike_its_opposite() -> None:
    one = {"a": made(1)}
    opposite = {"a": replace(one["a"], up=-one["a"].up)}
    assert similarity(one, one).total == pytest.approx(1.0)
    assert similarity(one, opposite).total == pytest.approx(-1.0)


def test_a_layer_that_nothing_changes_has_no_direction() -> None:
    nothing = replace(made(1), up=np.zeros((16, 3)))
    assert similarity({"a": nothing}, {"a": made(2)}).modules == {"a": 0.0}


def test_factors_are_scaled_as_the_configuration_says(write_adapter: WriteAdapter, base: BaseModel) -> None:
    config = lora_config(use_rslora=True, alpha_pattern={"layers.1.mlp.up_proj": 6})
    found = read_factors(write_adapter(config), base)
    assert [factors.scale for factors in found.values()] == [8 / 2, 6 / 2]
    first = lora_tensors()["base_model.model.model.layers.0.mlp.up_proj.lora_A.weight"]
    assert np.array_equal(found["model.layers.0.mlp.up_proj"].down, first)


def test_the_base_models_norms_are_measured_once(base: BaseModel, tmp_path: Path) -> None:
    norms = base_norms(base, tmp_path / "norms")
    assert norms == pytest.approx({module: np.sqrt(16 * 8) for module in base.modules})
    gone = replace(base, path=tmp_path / "nowhere")
    assert base_norms(gone, tmp_path / "norms") == norms


def test_a_damaged_cache_is_measured_anew(base: BaseModel, tmp_path: Path) -> None:
    norms = base_norms(base, tmp_path / "norms")
    (kept,) = (tmp_path / "norms").iterdir()
    kept.write_text("{")
    assert base_norms(base, tmp_path / "norms") == norms


def test_quantised_weights_have_no_norm(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 8, "num_hidden_layers": 1}))
    (tmp_path / "tokenizer.json").write_text("{}")
    save_file({"model.layers.0.up_proj.weight": np.ones((16, 8), np.int8)}, tmp_path / "m.safetensors")
    with pytest.raises(BadBaseModel, match="I8"):
        base_norms(describe_base(tmp_path), tmp_path / "norms")
