"""What every part of the benchmarks takes and gives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.report import Figure


@dataclass(frozen=True)
class Options:
    """seconds: how long one load lasts. directory: where results and peers' environments are kept."""

    seconds: float
    peers: bool
    long: bool
    directory: Path


@dataclass
class Outcome:
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What a reader must know: peers that could not be had, answers that were wrong."""
    tables: dict[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    """Everything else that was measured, by title."""
