import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.base import BaseModel
from adapters.errors import InvalidAdapter
from adapters.validation import WEIGHTS, validate
from tests.unit.adapters.conftest import WriteAdapter, lora_config, lora_tensors

FIRST = "base_model.model.model.layers.0.mlp.up_proj"


def refused(directory: Path, base: BaseModel) -> InvalidAdapter:
    with pytest.raises(InvalidAdapter) as caught:
        validate(directory, base, max_rank=8)
    return caught.value


def test_a_plain_lora_is_valid(write_adapter: WriteAdapter, base: BaseModel) -> None:
    shape = validate(write_adapter(), base, max_rank=8)
    assert (shape.rank, shape.alpha, shape.parameters) == (4, 8, 2 * (4 * 8 + 16 * 4))
    assert list(shape.modules) == list(base.modules)


def test_all_linear_means_every_layer(write_adapter: WriteAdapter, base: BaseModel) -> None:
    assert len(validate(write_adapter(lora_config(target_modules="all-linear")), base, 8).modules) == 2


def test_an_adapter_of_some_layers_is_valid(write_adapter: WriteAdapter, base: BaseModel) -> None:
    tensors = {name: tensor for name, tensor in lora_tensors().items() if ".1." in name}
    shape = validate(write_adapter(lora_config(layers_to_transform=[1]), tensors), base, 8)
    assert shape.modules == ["model.layers.1.mlp.up_proj"]


def test_an_adapter_may_leave_modules_out(write_adapter: WriteAdapter, base: BaseModel) -> None:
    tensors = {name: tensor for name, tensor in lora_tensors().items() if ".1." in name}
    config = lora_config(exclude_modules=["model.layers.0.mlp.up_proj"])
    assert len(validate(write_adapter(config, tensors), base, 8).modules) == 1


def test_ranks_may_differ_by_module(write_adapter: WriteAdapter, base: BaseModel) -> None:
    tensors = lora_tensors(2)
    tensors |= {name: tensor for name, tensor in lora_tensors(4).items() if ".1." in name}
    config = lora_config(r=2, rank_pattern={"layers.1.mlp.up_proj": 4})
    assert validate(write_adapter(config, tensors), base, 8).rank == 4


def test_half_precision_is_read(write_adapter: WriteAdapter, base: BaseModel) -> None:
    tensors = {name: tensor.astype(np.float16) for name, tensor in lora_tensors().items()}
    assert validate(write_adapter(tensors=tensors), base, 8).rank == 4


def write_bfloat16(directory: Path, bits: int) -> None:
    """Every value of every tensor has these sixteen bits. numpy has no such type, so the format is written here."""
    header, body = {}, b""
    for name, tensor in lora_tensors().items():
        data = np.full(tensor.size, bits, "<u2").tobytes()
        offsets = [len(body), len(body) + len(data)]
        header[name] = {"dtype": "BF16", "shape": tensor.shape, "data_offsets": offsets}
        body += data
    described = json.dumps(header).encode()
    (directory / WEIGHTS).write_bytes(len(described).to_bytes(8, "little") + described + body)


def test_bfloat16_is_read(write_adapter: WriteAdapter, base: BaseModel) -> None:
    directory = write_adapter()
    write_bfloat16(directory, 0x3F80)
    assert validate(directory, base, 8).rank == 4


def test_infinity_in_bfloat16_is_refused(write_adapter: WriteAdapter, base: BaseModel) -> None:
    directory = write_adapter()
    write_bfloat16(directory, 0x7F80)
    assert "finite" in refused(directory, base).reason


@pytest.mark.parametrize("name", ["adapter_model.bin", "training_args.bin", "x.pt", "x.PKL", "model.py"])
def test_files_that_can_run_code_are_refused_unread(
    write_adapter: WriteAdapter, base: BaseModel, name: str
) -> None:
    directory = write_adapter()
    (directory / name).write_bytes(b"")
    assert refused(directory, base).param == name


def test_links_are_refused(write_adapter: WriteAdapter, base: BaseModel) -> None:
    directory = write_adapter()
    (directory / "README.md").symlink_to("/etc/passwd")
    assert refused(directory, base).param == "README.md"


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_an_incomplete_folder_is_refused(write_adapter: WriteAdapter, base: BaseModel, name: str) -> None:
    directory = write_adapter()
    (directory / name).unlink()
    assert refused(directory, base).param == name


@pytest.mark.parametrize("content", ["{", "[]", "\xff"])
def test_a_broken_configuration_is_refused(
    write_adapter: WriteAdapter, base: BaseModel, content: str
) -> None:
    directory = write_adapter()
    (directory / "adapter_config.json").write_bytes(content.encode("latin-1"))
    assert refused(directory, base).param == "adapter_config.json"


def test_broken_weights_are_refused(write_adapter: WriteAdapter, base: BaseModel) -> None:
    directory = write_adapter()
    (directory / "adapter_model.safetensors").write_bytes(b"\x80\x04pickle")
    assert refused(directory, base).param == "adapter_model.safetensors"


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"peft_type": "LOHA"}, "peft_type"),
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "bias"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"kasa_config": {"beta": 1e-4}}, "kasa_config"),
        ({"init_lora_weights": "something_new"}, "init_lora_weights"),
        ({"target_modules": ["q_proj"]}, "target_modules"),
        ({"target_modules": ["embed_tokens"]}, "target_modules"),
        ({"target_modules": ".*up_proj"}, "target_modules"),
        ({"target_modules": []}, "target_modules"),
        ({"target_modules": None}, "target_modules"),
        ({"exclude_modules": ".*"}, "exclude_modules"),
        ({"layers_to_transform": [7]}, "target_modules"),
        ({"rank_pattern": {"(a+)+": 2}}, "rank_pattern"),
        ({"rank_pattern": {"up_proj": 0}}, "rank_pattern"),
        ({"rank_pattern": {"up_proj": "many"}}, "rank_pattern"),
        ({"rank_pattern": ["up_proj"]}, "rank_pattern"),
        ({"layers_to_transform": "0"}, "layers_to_transform"),
        ({"r": 9}, "r"),
        ({"r": 0}, "r"),
        ({"r": "4"}, "r"),
        ({"r": 2.5}, "r"),
        ({"lora_alpha": float("nan")}, "adapter_config.json"),
        ({"lora_alpha": 1e30}, "lora_alpha"),
        ({"alpha_pattern": {"up_proj": 1e30}}, "alpha_pattern"),
    ],
)
def test_a_setting_that_the_engine_cannot_serve_is_named(
    write_adapter: WriteAdapter, base: BaseModel, changes: dict[str, Any], param: str
) -> None:
    assert refused(write_adapter(lora_config(**changes)), base).param == param


Spoil = Callable[[dict[str, np.ndarray]], object]


@pytest.mark.parametrize(
    ("spoil", "param"),
    [
        (lambda t: t.pop(f"{FIRST}.lora_B.weight"), f"{FIRST}.lora_B.weight"),
        (lambda t: t.update(extra=np.ones(1, np.float32)), "extra"),
        (
            lambda t: t.update({f"{FIRST}.lora_A.weight": np.ones((4, 9), np.float32)}),
            f"{FIRST}.lora_A.weight",
        ),
        (
            lambda t: t.update({f"{FIRST}.lora_B.weight": np.ones((16, 3), np.float32)}),
            f"{FIRST}.lora_B.weight",
        ),
        (lambda t: t.update({f"{FIRST}.lora_A.weight": np.ones((4, 8), np.int8)}), f"{FIRST}.lora_A.weight"),
        (lambda t: t[f"{FIRST}.lora_A.weight"].put(3, np.nan), f"{FIRST}.lora_A.weight"),
        (lambda t: t[f"{FIRST}.lora_B.weight"].put(3, np.inf), f"{FIRST}.lora_B.weight"),
        (lambda t: t[f"{FIRST}.lora_B.weight"].put(3, -1e9), f"{FIRST}.lora_B.weight"),
    ],
    ids=["missing", "extra", "in features", "rank", "type", "nan", "inf", "huge"],
)
def test_a_tensor_that_does_not_fit_is_named(
    write_adapter: WriteAdapter, base: BaseModel, spoil: Spoil, param: str
) -> None:
    tensors = lora_tensors()
    spoil(tensors)
    assert refused(write_adapter(tensors=tensors), base).param == param


SECOND = FIRST.replace("layers.0", "layers.1")


@pytest.mark.parametrize(
    "zero",
    [
        (f"{FIRST}.lora_B.weight", f"{SECOND}.lora_B.weight"),
        (f"{FIRST}.lora_A.weight", f"{SECOND}.lora_A.weight"),
        (f"{FIRST}.lora_A.weight", f"{SECOND}.lora_B.weight"),
    ],
    ids=["every B", "every A", "A and B in different layers"],
)
def test_an_adapter_without_effect_is_refused(
    write_adapter: WriteAdapter, base: BaseModel, zero: tuple[str, str]
) -> None:
    tensors = lora_tensors()
    for name in zero:
        tensors[name].fill(0)
    assert "no effect" in refused(write_adapter(tensors=tensors), base).reason


def test_factors_that_cancel_out_are_no_effect(write_adapter: WriteAdapter, base: BaseModel) -> None:
    """Ranks that undo each other, in numbers that no sum of squares adds up to zero exactly."""
    tensors, random = lora_tensors(2), np.random.default_rng(0)
    for module in (FIRST, SECOND):
        row, column = random.normal(size=8), random.normal(size=16)
        tensors[f"{module}.lora_A.weight"] = np.stack([row, row]).astype(np.float32)
        tensors[f"{module}.lora_B.weight"] = np.stack([column, -column], axis=1).astype(np.float32)
    assert "no effect" in refused(write_adapter(lora_config(r=2), tensors), base).reason


@pytest.mark.parametrize("size", [1e-12, 1e-3])
def test_one_layer_with_a_small_effect_is_enough(
    write_adapter: WriteAdapter, base: BaseModel, size: float
) -> None:
    tensors = lora_tensors()
    tensors[f"{FIRST}.lora_B.weight"].fill(0)
    tensors[f"{SECOND}.lora_B.weight"] *= np.float32(size)
    assert validate(write_adapter(tensors=tensors), base, 8).rank == 4
