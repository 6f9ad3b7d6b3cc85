import json
import os
from pathlib import Path

import pytest

from adapters.base import BaseModel, describe_base
from adapters.errors import BadBaseModel


def test_the_linear_layers_are_listed_and_nothing_else(base: BaseModel) -> None:
    assert base.modules == {f"model.layers.{i}.mlp.up_proj": (16, 8) for i in range(2)}
    assert (base.hidden_size, base.layers) == (8, 2)


def test_the_digest_does_not_depend_on_the_place(base: BaseModel, tmp_path: Path) -> None:
    elsewhere = base.path.rename(tmp_path / "elsewhere")
    assert describe_base(elsewhere).digest == base.digest


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_every_file_that_matters_is_in_the_digest(base: BaseModel, name: str) -> None:
    file = base.path / name
    file.write_bytes(file.read_bytes() + b" ")
    assert describe_base(base.path).digest != base.digest


def test_an_unchanged_base_is_not_read_again(base: BaseModel) -> None:
    assert describe_base(base.path) is base


def test_a_file_changed_within_its_size_is_noticed(base: BaseModel) -> None:
    file = base.path / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(1, 1))
    assert describe_base(base.path).digest != base.digest


def test_a_model_with_text_settings_inside_is_understood(base: BaseModel) -> None:
    (base.path / "config.json").write_text(
        json.dumps({"text_config": {"hidden_size": 8, "num_hidden_layers": 2}})
    )
    assert describe_base(base.path).layers == 2


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_an_incomplete_base_model_is_refused(base: BaseModel, name: str) -> None:
    (base.path / name).unlink()
    with pytest.raises(BadBaseModel):
        describe_base(base.path)


def test_weights_in_another_format_are_refused(base: BaseModel) -> None:
    (base.path / "model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(BadBaseModel):
        describe_base(base.path)
