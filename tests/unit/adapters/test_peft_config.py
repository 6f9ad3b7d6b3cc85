"""Which of PEFT's adapters are plain LoRAs of our base weights, by PEFT's own source, and how names select modules."""

import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from adapters.base import BaseModel
from adapters.errors import InvalidAdapter
from adapters.peft_config import read_config
from adapters.validation import validate
from tests.unit.adapters.conftest import WriteAdapter, lora_config


def peft_inits() -> dict[str, bool]:
    """Initialisations by PEFT's own source, and whether they write to the base weights."""
    spec = find_spec("peft")
    assert spec is not None and spec.origin is not None
    source = (Path(spec.origin).parent / "tuners" / "lora" / "layer.py").read_text()
    names = set(re.findall(r'init_lora_weights(?:\.lower\(\))?(?: == |\.startswith\()"(\w+)"', source))
    bodies = dict(re.findall(r"\n    def (\w+)_init\(self, (.*?)(?=\n    @|\n    def )", source, re.DOTALL))
    return {name: "base_layer" in _written(bodies.get(name, "")) for name in names}


def _written(body: str) -> str:
    """Left sides of the assignments to weights."""
    return " ".join(re.findall(r"(\S*)\.weight\.data = ", body))


CONVERTIBLE = ("pissa", "olora", "corda", "lora_ga")
INITS = peft_inits()


def test_peft_has_the_initialisations_that_are_told_apart() -> None:
    assert {name for name, writes in INITS.items() if writes} == {*CONVERTIBLE, "loftq"}
    assert {name for name, writes in INITS.items() if not writes} == {"gaussian", "eva", "orthogonal", "mica"}


@pytest.mark.parametrize("init", [*sorted(name for name in INITS if INITS[name]), "pissa_niter_4", "OLoRA"])
def test_an_initialisation_that_changes_the_base_weights_is_refused_with_a_way_out(
    write_adapter: WriteAdapter, base: BaseModel, init: str
) -> None:
    with pytest.raises(InvalidAdapter) as caught:
        validate(write_adapter(lora_config(init_lora_weights=init)), base, max_rank=8)
    assert caught.value.param == "init_lora_weights"
    converts = init.lower().startswith(CONVERTIBLE)
    assert ("path_initial_model_for_weight_conversion" in caught.value.reason) is converts


@pytest.mark.parametrize("init", [True, False, *sorted(name for name in INITS if not INITS[name])])
def test_an_initialisation_that_leaves_the_base_weights_alone_passes(
    write_adapter: WriteAdapter, base: BaseModel, init: str | bool
) -> None:
    validate(write_adapter(lora_config(init_lora_weights=init)), base, max_rank=8)


def test_of_two_names_of_a_module_the_first_counts(tmp_path: Path) -> None:
    pattern = {"other": 1, "mlp.up_proj": 2, "up_proj": 3}
    (tmp_path / "config.json").write_text(
        json.dumps(lora_config(rank_pattern=pattern, alpha_pattern=pattern))
    )
    config = read_config(tmp_path / "config.json")
    assert [config.rank_of(name) for name in ("0.mlp.up_proj", "0.up_proj", "up_proj.0")] == [2, 3, 4]
    assert config.scale_of("0.mlp.up_proj") == 1


@pytest.mark.timeout(20)
def test_many_names_against_many_modules_take_no_longer_than_to_look_each_up(tmp_path: Path) -> None:
    names = [f"{number}.x" for number in range(18_000)]
    (tmp_path / "config.json").write_text(json.dumps(lora_config(exclude_modules=names)))
    modules = [f"layers.{number}.mlp.up_proj" for number in range(20_000)]
    assert read_config(tmp_path / "config.json").targets(modules) == modules
