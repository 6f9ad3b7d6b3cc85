import pytest

from training.errors import DoesNotFit
from training.memory import GIB, Batch, Shape, estimate, require
from training.recipe import Recipe
from training.shapes import KNOWN, shape

RECIPE = Recipe()


def llama(hidden: int, layers: int, intermediate: int, heads: int, kv: int, words: int) -> Shape:
    config = {
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "vocab_size": words,
    }
    return shape(config)


HALF_B, EIGHT_B = shape(KNOWN["0.5B"]), shape(KNOWN["8B"])


MEASURED = [
    # hidden, layers, intermediate, heads, words, rows, tokens of a row, answers of a row, bytes a weight, peak MiB
    (256, 5, 640, 4, 2048, 32, 37, 14, 4, 190),
    (512, 8, 1408, 8, 32_000, 16, 27, 14, 4, 426),
    (512, 8, 1408, 8, 32_000, 64, 27, 14, 4, 1047),
    (512, 8, 1408, 8, 32_000, 16, 77, 14, 4, 698),
    (512, 8, 1408, 8, 32_000, 64, 27, 14, 2, 1019),
    (512, 8, 2816, 8, 2048, 64, 27, 14, 4, 1053),
    (1024, 8, 2816, 8, 2048, 64, 27, 14, 4, 1451),
]
"""Peaks of real trainings on a processor, beside the loaded base model (docs/memory-needs.md)."""


@pytest.mark.parametrize("row", MEASURED)
def test_the_estimate_is_over_what_was_measured_and_not_by_much(row: tuple[int, ...]) -> None:
    hidden, layers, intermediate, heads, words, rows, tokens, answers, weight_bytes, peak = row
    planned = estimate(
        llama(hidden, layers, intermediate, heads, heads if hidden > 256 else 2, words),
        Recipe(batch_size=rows),
        weight_bytes,
        batch=Batch.alike(rows, tokens, answers),
    )
    assert 0.98 * peak <= planned.beside_base / 2**20 <= 1.8 * peak


def test_the_base_takes_four_or_two_bytes_a_weight() -> None:
    full, half = estimate(EIGHT_B, RECIPE, 4), estimate(EIGHT_B, RECIPE, 2)
    assert full.base / GIB == pytest.approx(29.9, abs=0.2)
    assert half.base * 2 == full.base and half.cast == 0 < full.cast


def test_more_rows_rank_and_words_take_more() -> None:
    small = estimate(HALF_B, RECIPE, 4).total
    assert estimate(HALF_B, Recipe(batch_size=64), 4).total > small
    assert estimate(HALF_B, Recipe(rank=64), 4).total > small
    assert estimate(HALF_B, RECIPE, 4, batch=Batch.alike(RECIPE.batch_size, 512)).total > small
    assert estimate(HALF_B, Recipe(bf16=False), 4).activations > estimate(HALF_B, RECIPE, 4).activations


def test_a_gpu_attends_without_keeping_every_pair() -> None:
    assert estimate(HALF_B, RECIPE, 4, gpu=True).activations < estimate(HALF_B, RECIPE, 4).activations


def test_what_cannot_fit_is_refused_with_both_figures() -> None:
    planned = estimate(EIGHT_B, RECIPE, 4)
    with pytest.raises(
        DoesNotFit, match=r"would take .* GiB of memory and 16.0 GiB are free \(base 29.9 GiB"
    ):
        require(planned.total, 16 * GIB, planned)
    require(planned.total, planned.total, planned)
