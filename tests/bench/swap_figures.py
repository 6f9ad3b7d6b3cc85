"""What a hundred swaps came to, and what it should be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.bench.load import percentile
from tests.bench.report import Figure

SWAPS = 100


@dataclass
class Seen:
    """What one tenant's clients saw."""

    gaps: list[tuple[float, float]] = field(default_factory=list)
    """When (monotonic) a token came, and how long after the one before it, in seconds."""
    streams: int = 0
    failed: int = 0
    mixed: int = 0
    """Streams whose text is not their version's."""
    example: str = ""

    def fail(self, what: str) -> None:
        self.failed += 1
        self.example = self.example or what[:300]


@dataclass(frozen=True)
class Swap:
    """start: monotonic. took: seconds until the admin API's answer, which `document` is. visible: seconds from the
    alias's move, as its history dates it, until the last worker's first answer that names the new version."""

    start: float
    took: float
    visible: float
    document: Mapping[str, Any]


def timings(documents: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for stage in (*documents[0]["timings_ms"], "total"):
        taken = [
            document["total_ms"] if stage == "total" else document["timings_ms"][stage]
            for document in documents
        ]
        rows.append(
            {
                "stage": stage,
                "p50": percentile(taken, 0.5),
                "p99": percentile(taken, 0.99),
                "most": max(taken),
            }
        )
    return rows


def figures(
    swaps: Sequence[Swap],
    around: Sequence[float],
    quiet: Sequence[float],
    swapped: Seen,
    other: Seen,
) -> list[Figure]:
    visible = [swap.visible * 1000 for swap in swaps]
    return [
        Figure("swaps", len(swaps), target=SWAPS, at_most=False),
        Figure("swaps that every worker had at the answer", sum(swap.document["visible"] for swap in swaps)),
        Figure("failed requests", swapped.failed + other.failed, target=0),
        Figure("streams not wholly of one version", swapped.mixed + other.mixed, target=0),
        Figure("streams", swapped.streams + other.streams),
        Figure(
            "other tenant's p99 between tokens",
            percentile(around, 0.99) * 1000,
            "ms",
            percentile(quiet, 0.99) * 1000,
            "without swaps",
            1.5,
            of_ratio=True,
        ),
        Figure("alias visible in every worker, p99", percentile(visible, 0.99), "ms", target=50.0),
        Figure(
            "whole swap as its client saw it, p99",
            percentile([swap.took for swap in swaps], 0.99),
            "s",
            target=1.0,
        ),
    ]
