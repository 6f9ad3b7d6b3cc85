"""What the demo tells: a timeline of steps, checks that are true or not, and the figures at the end."""

import time
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

TIMES = ("ms", "s")


@dataclass(frozen=True)
class Figure:
    """One measured number; `target` None means it is only reported."""

    name: str
    value: float
    unit: str
    target: float | None = None
    at_most: bool = True
    """Whether the target is an upper bound, or else a lower one."""

    @property
    def met(self) -> bool:
        if self.target is None:
            return True
        return self.value <= self.target if self.at_most else self.value >= self.target


@dataclass
class Story:
    """Prints as it goes and remembers everything for the verdict."""

    console: Console
    started: float = field(default_factory=time.monotonic)
    figures: list[Figure] = field(default_factory=list)
    untrue: list[str] = field(default_factory=list)
    timed: bool = True
    """Whether a missed time makes the story untrue; on a machine with other work it only is reported."""

    def step(self, number: int, title: str) -> None:
        self.console.print(
            f"\n[bold cyan]{number}[/]  [bold]{title}[/]  [dim]{self._clock()}[/]", highlight=False
        )

    def say(self, text: str) -> None:
        self.console.print(f"   {text}", highlight=False)

    def quote(self, who: str, question: str, answer: str, note: str = "") -> None:
        """One exchange, as a person would read it."""
        tail = f"  [dim]{note}[/]" if note else ""
        self.console.print(f"   [dim]{who:<8}[/] {question}  [green]→ {answer}[/]{tail}", highlight=False)

    def check(self, claim: str, true: bool, detail: str = "") -> bool:
        mark = "[green]✓[/]" if true else "[bold red]✗[/]"
        self.console.print(f"   {mark} {claim}" + (f"  [dim]{detail}[/]" if detail else ""), highlight=False)
        if not true:
            self.untrue.append(f"{claim} ({detail})" if detail else claim)
        return true

    def figure(
        self, name: str, value: float, unit: str, target: float | None = None, *, at_most: bool = True
    ) -> bool:
        """Record a number for the table at the end; missing its target makes the demo fail."""
        made = Figure(name, value, unit, target, at_most)
        self.figures.append(made)
        if not made.met and (self.timed or unit not in TIMES):
            self.untrue.append(f"{name}: {value:g} {unit}, target {target:g}")
        return made.met

    def bar(self, name: str, value: float, least: float, detail: str = "") -> bool:
        """A share that must reach `least`, said as a check and kept as a figure."""
        self.figures.append(Figure(name, round(value, 4), "", least, at_most=False))
        return self.check(
            f"{name}: {value:.0%}", value >= least, f"at least {least:.0%}{detail and '; ' + detail}"
        )

    def finish(self) -> bool:
        """Print the table of figures and the verdict; returns whether everything was true."""
        table = Table(title="Measured", title_justify="left")
        for heading in ("figure", "measured", "target", "met"):
            table.add_column(heading, justify="left" if heading == "figure" else "right")
        for figure in self.figures:
            table.add_row(figure.name, f"{figure.value:,g} {figure.unit}".strip(), *_target(figure))
        self.console.print()
        self.console.print(table)
        for line in self.untrue:
            self.console.print(f"[bold red]untrue:[/] {line}", highlight=False)
        verdict = (
            "[bold green]Every line is true.[/]"
            if not self.untrue
            else "[bold red]Not every line is true.[/]"
        )
        self.console.print(f"{verdict}  [dim]{self._clock()}[/]")
        return not self.untrue

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "true": not self.untrue,
            "untrue": self.untrue,
            "seconds": round(self.elapsed, 1),
            "figures": [{**asdict(f), "met": f.met} for f in self.figures],
        }

    @property
    def elapsed(self) -> float:
        """Seconds since the story began."""
        return time.monotonic() - self.started

    def _clock(self) -> str:
        return f"{self.elapsed:.0f} s"


def _target(figure: Figure) -> tuple[str, str]:
    if figure.target is None:
        return "", ""
    bound = "≤" if figure.at_most else "≥"
    return f"{bound} {figure.target:g}", "yes" if figure.met else "[red]NO[/]"
