"""Weights that mean harm, through the admin API."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors.numpy import save

from adapters.validation import WEIGHTS
from tests.integration.transfer_house import FIRST, House, plain_tar, tar

MIB = 1024**2


def weights_of(header: Any, body: bytes = b"") -> bytes:
    said = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(said).to_bytes(8, "little") + said + body


def tensor(
    start: int = 0, end: int = 128, dtype: str = "F32", shape: tuple[int, ...] = (4, 8)
) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def named_twice() -> bytes:
    """Good weights, and the last name once more."""
    made = save({f"{FIRST}.lora_A.weight": np.ones((4, 8), np.float32)})
    length = int.from_bytes(made[:8], "little")
    header = made[8 : 8 + length].strip()
    return weights_of(header[:-1] + b"," + header[1:], made[8 + length :])


BROKEN: Mapping[str, bytes] = {
    "a header longer than the file": (2**62).to_bytes(8, "little") + b"{}",
    "a header of 100 megabytes": weights_of({"__metadata__": {"x": "y" * 40 * MIB}}),
    "a hundred thousand tensors": weights_of(
        {f"t{'x' * 100}{n}": tensor(0, 0, shape=(0,)) for n in range(110_000)}
    ),
    "no header": b"",
    "a header that is no object": weights_of([]),
    "deep metadata": weights_of(b'{"__metadata__":' + b'{"a":' * 5000 + b"1" + b"}" * 5001),
    "tensors that overlap": weights_of({"a": tensor(), "b": tensor(64, 192)}, bytes(192)),
    "a hole": weights_of({"a": tensor(), "b": tensor(256, 384)}, bytes(384)),
    "an end before its start": weights_of({"a": tensor(128, 0)}, bytes(128)),
    "more than the file": weights_of({"a": tensor()}, bytes(64)),
    "less than the file": weights_of({"a": tensor()}, bytes(256)),
    "a shape that overflows": weights_of({"a": tensor(shape=(2**63, 2**63))}, bytes(128)),
    "numbers beyond": weights_of({"a": tensor(end=2**70)}, bytes(128)),
    "eight bits": weights_of({f"{FIRST}.lora_A.weight": tensor(0, 32, "F8_E4M3")}, bytes(32)),
    "whole numbers": weights_of({f"{FIRST}.lora_A.weight": tensor(dtype="I32")}, bytes(128)),
    "an unknown type": weights_of({"a": tensor(dtype="F3")}, bytes(128)),
    "a name of a megabyte": weights_of({"x" * MIB: tensor()}, bytes(128)),
    "a name twice": named_twice(),
    "a name that is no text": weights_of(
        b'{"\\ud800":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', bytes(4)
    ),
}


async def test_weights_that_mean_harm_are_refused(home: House) -> None:
    for kind, weights in BROKEN.items():
        await home.refused(kind, content=plain_tar(home.files() | {WEIGHTS: weights}))


async def test_a_tensor_that_is_named_twice_is_refused_for_that(home: House) -> None:
    error = await home.refused("twice", content=tar(home.files() | {WEIGHTS: named_twice()}))
    assert "twice" in error["message"]
