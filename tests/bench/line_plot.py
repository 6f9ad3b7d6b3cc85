"""Small line plots of shares as SVG, two in a row. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 400, 230
LEFT, RIGHT, TOP, BOTTOM = 44, 92, 36, 34
LOUD, QUIET, RULE, WORDS = "#0b6e99", "#9a9a9a", "#e4e4e4", "#333333"
TICKS = 4
APART = 13.0
"""Pixels between the names of two lines that end at the same height."""


@dataclass(frozen=True)
class Line:
    """`points`: (x, y), x rising."""

    label: str
    points: Sequence[tuple[float, float]]
    quiet: bool = False


@dataclass(frozen=True)
class Panel:
    """`target`: a height that is marked. `across`: what x is. `high`: the axis reaches so far at least."""

    title: str
    lines: Sequence[Line]
    target: float | None = None
    across: str = "night"
    ticks: Sequence[float] | None = None
    """None: every whole number."""
    high: float = 1.0


def drawn(panels: Sequence[Panel]) -> str:
    """The whole picture. Panels without a point are left empty."""
    rows = (len(panels) + 1) // 2
    size = f'width="{2 * WIDTH}" height="{rows * HEIGHT}" viewBox="0 0 {2 * WIDTH} {rows * HEIGHT}"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="11">']
    parts.append('<rect width="100%" height="100%" fill="white"/>')
    for place, panel in enumerate(panels):
        x, y = place % 2 * WIDTH, place // 2 * HEIGHT
        parts += [f'<g transform="translate({x} {y})">', *_panel(panel), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel) -> list[str]:
    points = [point for line in panel.lines for point in line.points]
    if not points:
        return [_text(LEFT, 20, panel.title, weight="bold")]
    high = max(panel.high, *(y for _, y in points))
    first, last = min(x for x, _ in points), max(x for x, _ in points)

    def across(x: float) -> float:
        return LEFT + (x - first) / ((last - first) or 1) * (WIDTH - LEFT - RIGHT)

    def down(y: float) -> float:
        return HEIGHT - BOTTOM - y / high * (HEIGHT - TOP - BOTTOM)

    parts = [_text(LEFT, 20, panel.title, weight="bold")]
    for tick in range(TICKS + 1):
        y = tick * high / TICKS
        parts.append(_rule(down(y), RULE))
        parts.append(_text(LEFT - 6, down(y) + 4, f"{y:.2f}", anchor="end"))
    if panel.target is not None:
        parts.append(_rule(down(panel.target), WORDS, "4 3"))
    for x in panel.ticks or range(int(first), int(last) + 1):
        parts.append(_text(across(x), HEIGHT - BOTTOM + 16, f"{x:g}", anchor="middle"))
    taken: list[float] = []
    for line in sorted((each for each in panel.lines if each.points), key=lambda each: each.points[-1][1]):
        path = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in line.points)
        colour = QUIET if line.quiet else LOUD
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        height = _free(down(line.points[-1][1]) + 4, taken)
        parts.append(_text(WIDTH - RIGHT + 6, height, line.label, colour=colour))
    return [*parts, _text(WIDTH - RIGHT, HEIGHT - 4, panel.across, anchor="end")]


def _free(height: float, taken: list[float]) -> float:
    """The lowest free place at or above this one."""
    while any(abs(height - other) < APART for other in taken):
        height -= 1
    taken.append(height)
    return height


def _rule(y: float, colour: str, dashes: str = "") -> str:
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{colour}"{dashed}/>'


def _text(
    x: float, y: float, words: str, anchor: str = "start", weight: str = "", colour: str = WORDS
) -> str:
    bold = f' font-weight="{weight}"' if weight else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"{bold}>{escape(words)}</text>'
    )
