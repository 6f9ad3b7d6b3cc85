"""The nights as a table, as a page in the docs and as a plot."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench.line_plot import Line, Panel, drawn
from tests.bench.report import Figure, print_rows, verdict

DOCS = Path(__file__).parents[2] / "docs"
Night = Mapping[str, Any]
MOST_KEPT = 6
"""The study keeps 4, the one that serves, and one that the next pass of retention takes."""


def show(nights: Sequence[Night], wanted: int) -> bool:
    """Print and write what the nights came to; whether every target was met."""
    later = nights[1:]
    if not later:
        return False
    found = figures(nights)
    print_rows("generations: Graft / new data only", *_scores(nights))
    print_rows("generations: what it took", *_system(nights))
    headings = (f"the worst of {len(later)} nights", "Graft", "new data only", "target", "met")
    cells = [
        (f.name, f"{f.ours:.3g}", "" if f.peer is None else f"{f.peer:.3g}", f.bound, verdict(f.met))
        for f in found
    ]
    print_rows("generations: the worst night", headings, cells)
    (DOCS / "generations.svg").write_text(drawn(_panels(nights)), encoding="utf-8")
    tables = {
        "worst": _markdown(headings, cells),
        "scores": _markdown(*_scores(nights)),
        "system": _markdown(*_system(nights)),
    }
    _replace(DOCS / "generations.md", tables)
    if len(later) < wanted:
        print(f"{len(later)} of {wanted} nights so far; run it again to go on")
    return all(figure.met is not False for figure in found)


def figures(nights: Sequence[Night]) -> list[Figure]:
    """The worst of all nights, beside the same of naive continued training."""
    later, first = nights[1:], nights[0]["graft"]

    def worst(name: str, arm: str = "graft") -> float:
        return min(float(night[arm][name]) for night in later)

    def lost(arm: str) -> float:
        return 100 * (float(first["probes"]) - worst("probes", arm))

    fell = [night["graft"]["memory_after"] < night["graft"]["memory_before"] for night in later]
    rows: list[tuple[str, float, float | None, float | None, bool]] = [
        ("earlier fixes still right", worst("earlier"), worst("earlier", "naive"), 0.95, False),
        ("base probes, points lost", lost("graft"), lost("naive"), 2.0, True),
        ("never corrected → does not know", worst("never"), worst("never", "naive"), 0.85, False),
        (
            "nights after which prompts hold fewer memory entries, share",
            sum(fell) / len(fell),
            None,
            1.0,
            False,
        ),
        ("versions whose weights are kept, most", max(n["versions"] for n in later), None, MOST_KEPT, True),
        ("versions in the engine, most", max(n["resident"] for n in later), None, 3, True),
        ("new fixes right", worst("new"), worst("new", "naive"), None, False),
        ("unseen phrasings right", worst("unseen"), worst("unseen", "naive"), None, False),
        ("corrected questions right, memory on", worst("with_memory"), None, None, False),
    ]
    return [
        Figure(name, ours, peer=peer, peer_name="naive", target=target, at_most=at_most)
        for name, ours, peer, target, at_most in rows
    ]


def _scores(nights: Sequence[Night]) -> tuple[Sequence[str], list[list[str]]]:
    return _table(
        nights,
        {
            "night": lambda n: str(n["number"]),
            "facts": lambda n: str(n["facts"]),
            "earlier fixes": lambda n: _pair(n, "earlier") if n["number"] > 1 else "",
            "new fixes": lambda n: _pair(n, "new"),
            "unseen phrasings": lambda n: _pair(n, "unseen"),
            "probes": lambda n: _pair(n, "probes"),
            "never corrected": lambda n: _pair(n, "never"),
        },
    )


def _system(nights: Sequence[Night]) -> tuple[Sequence[str], list[list[str]]]:
    return _table(
        nights,
        {
            "night": lambda n: str(n["number"]),
            "let live by": lambda n: {"awaiting_approval": "a person", "succeeded": "the gate"}.get(
                n["status"], "nobody"
            ),
            "memory entries": lambda n: (
                f"{n['graft']['memory_before']:.2f} → {n['graft']['memory_after']:.2f}"
            ),
            "memory on": lambda n: f"{n['graft']['with_memory']:.3f}",
            "steps": lambda n: f"{n['costs'].get('training_steps', 0):.0f}",
            "training s": lambda n: f"{n['costs'].get('training_seconds', 0):.0f}",
            "gate s": lambda n: f"{n['costs'].get('gate_seconds', 0):.0f}",
            "versions kept": lambda n: str(n["versions"]),
            "in the engine": lambda n: str(n["resident"]),
        },
    )


def _table(
    nights: Sequence[Night], columns: Mapping[str, Callable[[Night], str]]
) -> tuple[Sequence[str], list[list[str]]]:
    return list(columns), [[shown(night) for shown in columns.values()] for night in nights[1:]]


def _pair(night: Night, name: str) -> str:
    return f"{night['graft'][name]:.2f} / {night['naive'][name]:.2f}"


def _panels(nights: Sequence[Night]) -> list[Panel]:
    def line(arm: str, name: str, nights: Sequence[Night]) -> Line:
        points = [(float(n["number"]), float(n[arm][name])) for n in nights]
        return Line("Graft" if arm == "graft" else "new data only", points, quiet=arm == "naive")

    def both(title: str, name: str, target: float | None, nights: Sequence[Night]) -> Panel:
        return Panel(title, [line("graft", name, nights), line("naive", name, nights)], target)

    later, base = nights[1:], float(nights[0]["graft"]["probes"])
    memory = [
        Line(label, [(float(n["number"]), float(n["graft"][name])) for n in later], quiet=quiet)
        for label, name, quiet in (("before", "memory_before", True), ("after", "memory_after", False))
    ]
    return [
        both("Earlier fixes still right", "earlier", 0.95, nights[2:]),
        both("Base probes right", "probes", base - 0.02, nights),
        both("Never corrected → “I do not know”", "never", 0.85, nights),
        Panel("Memory entries per corrected question", memory, None),
    ]


def _markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _replace(page: Path, tables: Mapping[str, str]) -> None:
    """Put the tables between their marks; the words around them are a person's."""
    text = page.read_text(encoding="utf-8")
    for name, table in tables.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        head, rest = text.split(begin)
        _, tail = rest.split(end)
        text = f"{head}{begin}\n{table}\n\n{end}{tail}"
    page.write_text(text, encoding="utf-8")
