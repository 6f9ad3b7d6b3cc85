"""What a measurement came to, beside what it is compared with and what it should be: a table and a document."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

WIDTH = 110
"""A table in a log file is as wide as one in a terminal."""


@dataclass(frozen=True)
class Figure:
    """One measured number; `target` None means that it is only reported."""

    name: str
    ours: float
    unit: str = ""
    peer: float | None = None
    """The same of something else, measured in the same run."""
    peer_name: str = ""
    target: float | None = None
    at_most: bool = True
    """Whether the target is an upper bound, or else a lower one."""
    of_ratio: bool = False
    """Whether the target is for ours / peer, not for ours."""

    @property
    def ratio(self) -> float | None:
        return self.ours / self.peer if self.peer else None

    @property
    def met(self) -> bool | None:
        """None: there is no target, or nothing to compare with was measured."""
        value = self.ratio if self.of_ratio else self.ours
        if self.target is None or value is None:
            return None
        return value <= self.target if self.at_most else value >= self.target

    @property
    def bound(self) -> str:
        """The target as people write it."""
        if self.target is None:
            return ""
        return f"{'≤' if self.at_most else '≥'} {self.target:g}{'×' if self.of_ratio else ''}"

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "ratio": self.ratio, "met": self.met}


def verdict(met: bool | None) -> str:
    return {True: "yes", False: "NO", None: ""}[met]


def print_rows(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading)
    for row in rows:
        table.add_row(*row)
    console = Console()
    console.width = max(console.width, WIDTH)
    console.print(table)


def print_figures(title: str, figures: Sequence[Figure]) -> None:
    headings = ("figure", "ours", "peer", "ratio", "target", "met")
    rows = [
        (
            figure.name,
            f"{number(figure.ours)} {figure.unit}".strip(),
            f"{number(figure.peer)} ({figure.peer_name})" if figure.peer is not None else "",
            f"{number(figure.ratio)}×" if figure.ratio is not None else "",
            figure.bound,
            verdict(figure.met),
        )
        for figure in figures
    ]
    print_rows(title, headings, rows)


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
