"""The estimates for well-known shapes, against a count by hand."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from adapters.base import describe_base
from gateway.accelerator import ENGINE_WORKING_BYTES, engine_share
from training.errors import DoesNotFit
from training.memory import GIB, estimate, require, shape_of
from training.recipe import Recipe
from training.shapes import KNOWN, linear_layers, shape

PUBLISHED = {
    "0.5B": (494_032_768, 8_798_208),
    "1.5B": (1_543_714_304, 18_464_768),
    "3B": (3_085_938_688, 29_933_568),
    "8B": (8_030_261_248, 41_943_040),
}
"""Parameters, as the models' cards have them; trainable ones with rank 16 on all linear layers, as PEFT prints them."""
NORM = 4 + 4 + 2
"""Its input and the normalised input in float32, its output in bfloat16."""
ATTENTION = (2 + 2 + 2) + (4 + 4) + (2 + 2 + 2) + 2 + 2
"""Queries, keys, values; the first two rotated; all three for the kernel; its output, twice."""
GATED = 2 + 2 + 2 + 2
"""Gate, up, activated gate, product."""
SCORES = 2 + 4 + 4
"""A score in bfloat16, in float32, and its gradient."""
ROW, ANSWER = 128, 24


def by_hand(name: str, batch: int) -> float:
    """Bytes of weights in bfloat16, of the adapter with what its optimizer keeps, and of what one step keeps for its
    backward pass. No copies that libraries make on the way."""
    parameters, trainable = PUBLISHED[name]
    known = KNOWN[name]
    per_token = (NORM + ATTENTION + NORM) * known["hidden_size"] + GATED * known["intermediate_size"]
    activations = ROW * known["num_hidden_layers"] * per_token + ANSWER * SCORES * known["vocab_size"]
    return 2 * parameters + 5 * 4 * trainable + batch * activations


@pytest.mark.parametrize("batch", [8, 32])
@pytest.mark.parametrize("name", KNOWN)
def test_the_estimate_is_the_count_by_hand_and_a_tenth_to_two_fifths_more(name: str, batch: int) -> None:
    planned = estimate(shape(KNOWN[name]), Recipe(batch_size=batch), 2, gpu=True)
    assert 1.1 <= (planned.total - planned.libraries) / by_hand(name, batch) <= 1.4


@pytest.mark.parametrize("name", KNOWN)
def test_a_shape_has_the_published_parameters(name: str) -> None:
    parameters, trainable = PUBLISHED[name]
    known = shape(KNOWN[name])
    assert known.parameters == pytest.approx(parameters, rel=0.001)
    assert 16 * known.features == trainable


@pytest.mark.parametrize(
    ("name", "batch", "gpu_gib", "fits"),
    [("0.5B", 8, 10.8, True), ("1.5B", 8, 10.8, True), ("3B", 8, 10.8, False), ("8B", 8, 36.0, True),
     ("8B", 32, 36.0, False), ("8B", 1, 10.8, False)],
)  # fmt: skip
def test_what_fits_in_the_learners_share_of_a_gpu(name: str, batch: int, gpu_gib: float, fits: bool) -> None:
    planned = estimate(shape(KNOWN[name]), Recipe(batch_size=batch), 2, gpu=True)
    free = int(gpu_gib * GIB)  # 0.45 of 24 and of 80 GiB
    if fits:
        require(planned.total, free, planned)
    else:
        with pytest.raises(DoesNotFit, match=rf"{gpu_gib} GiB are free .*GRAFT_LEARNER_GPU_SHARE"):
            require(planned.total, free, planned)


def test_the_layers_are_those_of_a_real_base_model(base_model: Path) -> None:
    config = json.loads((base_model / "config.json").read_bytes())
    modules = describe_base(base_model).modules
    assert linear_layers(config) == modules
    assert shape(config) == shape_of(config, modules)


def test_the_table_in_the_docs_is_what_the_command_prints() -> None:
    printed = subprocess.check_output([sys.executable, "-m", "training.shapes"], text=True).splitlines()
    documented = Path("docs/memory-needs.md").read_text().splitlines()
    assert len(printed) == 2 + 2 * len(KNOWN)
    assert set(printed[2:]) <= set(documented)


CARDS = [
    [cell.strip() for cell in line.strip("| ").split("|")]
    for line in Path("docs/gpu.md").read_text().splitlines()
    if line.startswith(("| 16 ", "| 24 ", "| 48 ", "| 80 "))
]


@pytest.mark.parametrize("cells", CARDS, ids=lambda cells: " ".join(cells[:3]))
def test_a_recipe_in_the_docs_fits_with_the_engine_beside_it(cells: list[str]) -> None:
    gpu, batch, share, *said = (float(cell) for cell in [cells[0], *cells[2:]])
    known = shape(KNOWN[cells[1]])
    training = estimate(known, Recipe(batch_size=int(batch)), 2, gpu=True).total / GIB
    engine = (2 * known.parameters + ENGINE_WORKING_BYTES) / GIB
    have = [training, share * gpu, engine, engine_share(share) * gpu]
    assert said == pytest.approx(have, abs=0.051)
    assert training <= share * gpu and engine <= engine_share(share) * gpu
