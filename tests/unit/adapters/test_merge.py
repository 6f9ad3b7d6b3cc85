"""Merged adapters against the dense arithmetic that they stand for."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import adapters.merge
from adapters.base import BaseModel
from adapters.drift import Factors, read_factors
from adapters.errors import InvalidAdapter
from adapters.merge import Merging, merge
from adapters.validation import validate

FIRST, SECOND = "model.layers.0.mlp.up_proj", "model.layers.1.mlp.up_proj"


def made(seed: int, rank: int = 2, scale: float = 1.0) -> Factors:
    random = np.random.default_rng(seed)
    return Factors(random.normal(size=(rank, 8)), random.normal(size=(16, rank)), scale)


def dense(factors: Factors) -> np.ndarray:
    return factors.scale * factors.up @ factors.down


def test_a_linear_merge_is_the_weighted_sum_of_the_changes(base: BaseModel, tmp_path: Path) -> None:
    one = {FIRST: made(1), SECOND: made(2)}
    other = {FIRST: made(3, rank=4, scale=0.5)}
    merged = merge([(one, 0.7), (other, 2.0)], Merging(rank=8), base, tmp_path / "out")
    found = read_factors(tmp_path / "out", base)
    assert merged.kept == pytest.approx(1.0)
    assert dense(found[FIRST]) == pytest.approx(0.7 * dense(one[FIRST]) + 2.0 * dense(other[FIRST]), abs=1e-4)
    assert dense(found[SECOND]) == pytest.approx(0.7 * dense(one[SECOND]), abs=1e-4)


def test_beyond_the_rank_the_nearest_is_kept_and_the_loss_is_told(base: BaseModel, tmp_path: Path) -> None:
    parts = [({FIRST: made(seed), SECOND: made(seed + 10)}, 1.0) for seed in range(4)]
    merged = merge(parts, Merging(rank=3), base, tmp_path / "out")
    whole = sum(dense(changes[FIRST]) for changes, _ in parts)
    best = np.linalg.svd(whole)
    nearest = (best[0][:, :3] * best[1][:3]) @ best[2][:3]
    assert dense(read_factors(tmp_path / "out", base)[FIRST]) == pytest.approx(nearest, abs=1e-3)
    assert 0.5 < merged.kept < 1.0


@pytest.mark.parametrize("method", ["linear", "ties", "dare_linear", "dare_ties"])
def test_every_method_writes_a_valid_adapter_and_the_same_one_again(
    method: str, base: BaseModel, tmp_path: Path
) -> None:
    parts = [({FIRST: made(seed), SECOND: made(seed + 10)}, 1.0) for seed in range(2)]
    for name in ("out", "again"):
        merge(parts, Merging(method=method, rank=4, seed=7), base, tmp_path / name)
    assert validate(tmp_path / "out", base, max_rank=4).rank == 4
    files = [(tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("out", "again")]
    assert files[0] == files[1]


def test_ties_takes_the_sign_of_the_heavier_change(base: BaseModel, tmp_path: Path) -> None:
    strong, weak = made(1), made(1, scale=-0.2)
    parts = [({FIRST: strong}, 1.0), ({FIRST: weak}, 1.0)]
    merge(parts, Merging(method="ties", density=1.0, rank=4), base, tmp_path / "out")
    assert dense(read_factors(tmp_path / "out", base)[FIRST]) == pytest.approx(dense(strong), abs=1e-4)


def test_adapters_that_cancel_out_are_refused(base: BaseModel, tmp_path: Path) -> None:
    parts = [({FIRST: made(1)}, 1.0), ({FIRST: made(1, scale=-1.0)}, 1.0)]
    with pytest.raises(InvalidAdapter):
        merge(parts, Merging(rank=4), base, tmp_path / "out")


@pytest.mark.parametrize("method", ["linear", "ties", "dare_ties"])
def test_a_layer_too_large_for_the_exact_decomposition_loses_hardly_more(
    method: str, base: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = replace(base, modules={FIRST: (300, 200)})
    random = np.random.default_rng(0)
    parts = [
        ({FIRST: Factors(random.normal(size=(8, 200)), random.normal(size=(300, 8)), 1.0)}, 1.0)
        for _ in range(3)
    ]
    kept = {}
    for below in (0, 1000):
        monkeypatch.setattr(adapters.merge, "EXACT_BELOW", below)
        kept[below] = merge(parts, Merging(method=method, rank=16), wide, tmp_path / str(below)).kept
    assert 0.99 * kept[1000] < kept[0] < 1.0001 * kept[1000] < 1.0
