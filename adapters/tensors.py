"""Safetensors files, read one tensor at a time and never whole."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import safetensors

from adapters.strict_json import read_json

Floats = npt.NDArray[np.floating[Any]]

_FLOATS: Mapping[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
}


MAX_HEADER_BYTES = 16 * 1024**2
"""A hundred thousand tensors' names and places. Read into memory whole, and many times as large there."""


class NotTensors(ValueError):
    """The file is no safetensors file, or a tensor in it holds no floating-point numbers."""


@dataclass(frozen=True)
class Tensor:
    """Where a tensor lies in its file."""

    path: Path
    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    """Of its first byte in the file."""

    @property
    def is_float(self) -> bool:
        return self.dtype in _FLOATS

    def values(self) -> Floats:
        """The numbers, read now; bfloat16, which numpy lacks, is the upper half of a float32.

        Raises NotTensors for other types, such as quantised ones.
        """
        if not self.is_float:
            raise NotTensors(f"{self.name} is of type {self.dtype}")
        count = math.prod(self.shape)
        raw = np.fromfile(self.path, _FLOATS[self.dtype], count, offset=self.offset).reshape(self.shape)
        if self.dtype == "BF16":
            raw = (raw.astype("<u4") << 16).view("<f4")
        return cast(Floats, raw)


def read_tensors(path: Path) -> Mapping[str, Tensor]:
    """The tensors of a file by name, once the library has checked its header against its size.

    Raises NotTensors, OSError.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > MAX_HEADER_BYTES:
            raise NotTensors(f"its header is larger than {MAX_HEADER_BYTES} bytes")
        body = file.read(length)
    try:
        with safetensors.safe_open(str(path), framework="np"):
            pass
        header: dict[str, Any] = read_json(body)
    except (safetensors.SafetensorError, ValueError) as error:
        raise NotTensors(str(error)) from error
    return {
        name: Tensor(path, name, entry["dtype"], tuple(entry["shape"]), 8 + length + entry["data_offsets"][0])
        for name, entry in header.items()
        if name != "__metadata__"
    }
