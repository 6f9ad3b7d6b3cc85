"""The whole walk for five companies with their own facts, values and phrasings; the figures that count are the worst
of the five, written to `docs/study-demo.md`.

Each company's result is kept below `.graft/studies/demo`, so that a study that was cut off goes on with the next
company. Results count for the very code that gave them: of another commit, or beside changes, none is taken.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from deploy.demo.make_facts import make
from tests.bench.report import print_rows, verdict

ROOT = Path(__file__).parents[2]
SEEDS = (11, 12, 13, 14, 15)
KEPT = ROOT / ".graft" / "studies" / "demo"
PRODUCT = ("gateway", "adapters", "retrieval", "training", "deploy", "requirements")


def run_demo(seed: int, directory: Path) -> dict[str, Any]:
    """One whole demo about the company that the seed makes; its JSON result."""
    facts = directory / f"company-{seed}.yaml"
    content = make(seed)
    facts.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), encoding="utf-8")
    command = [str(Path(sys.executable).parent / "graft"), "demo", "--facts", str(facts), "--json"]
    finished = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    result: dict[str, Any] = json.loads(finished.stdout)
    return {**result, "company": content["company"], "seed": seed}


def kept_at() -> Path | None:
    """Where results of this code are kept; None while it differs from its commit."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
        ).stdout.strip()

    trees = git("rev-parse", *(f"HEAD:{name}" for name in PRODUCT))
    changed = git("status", "--porcelain", "--", *PRODUCT)
    return None if changed else KEPT / hashlib.sha256(trees.encode()).hexdigest()[:16]


def walked(seed: int, directory: Path, kept: Path | None) -> dict[str, Any]:
    """The company's result: as it was kept, or of a walk now."""
    file = kept / f"{seed}.json" if kept else None
    if file and file.is_file():
        known: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return known
    result = run_demo(seed, directory)
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(result, indent=1, ensure_ascii=False), encoding="utf-8")
    return result


def study() -> bool:
    """Whether every target was met and every line of the demo was true."""
    kept = kept_at()
    with tempfile.TemporaryDirectory(prefix="graft-study-") as directory:
        results = [walked(seed, Path(directory), kept) for seed in SEEDS]
    rows = summarise(results)
    (ROOT / "docs" / "study-demo.md").write_text(as_markdown(rows, results), encoding="utf-8")
    print_table(rows)
    for result in results:
        for line in result["untrue"]:
            print(f"{result['company']}: {line}")
    return all(row["met"] for row in rows) and all(result["true"] for result in results)


def summarise(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For every figure the worst, the best and each company's value."""
    rows = []
    for first in results[0]["figures"]:
        found = [f for result in results for f in result["figures"] if f["name"] == first["name"]]
        values = [f["value"] for f in found]
        worst, best = (max(values), min(values)) if first["at_most"] else (min(values), max(values))
        rows.append(
            {
                "name": first["name"],
                "unit": first["unit"],
                "worst": worst,
                "best": best,
                "target": first["target"],
                "at_most": first["at_most"],
                "met": all(f["met"] for f in found) and len(found) == len(results),
            }
        )
    return rows


def bound(row: dict[str, Any]) -> str:
    if row["target"] is None:
        return ""
    return f"{'≤' if row['at_most'] else '≥'} {row['target']:g}"


def as_markdown(rows: Sequence[dict[str, Any]], results: Sequence[dict[str, Any]]) -> str:
    """The table that the docs hold."""
    companies = ", ".join(f"{result['company']} (seed {result['seed']})" for result in results)
    lines = [
        "# The demo, for five companies",
        "",
        f"`make study ONLY=demo` ran the whole walk for {companies}, on two cores. The worst of the five counts.",
        "",
        "| figure | worst | best | target | met |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        met = "" if row["target"] is None else ("yes" if row["met"] else "**no**")
        unit = f" {row['unit']}" if row["unit"] else ""
        lines.append(
            f"| {row['name']} | {row['worst']:g}{unit} | {row['best']:g}{unit} | {bound(row)} | {met} |"
        )
    untrue = [f"- {result['company']}: {line}" for result in results for line in result["untrue"]]
    lines += (
        ["", "Lines of the demo that were untrue:", "", *untrue]
        if untrue
        else ["", "Every line of all was true."]
    )
    return "\n".join(lines) + "\n"


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    cells = [
        (
            row["name"],
            f"{row['worst']:g} {row['unit']}",
            bound(row),
            verdict(row["met"] if row["target"] is not None else None),
        )
        for row in rows
    ]
    print_rows("demo: worst of five companies", ("figure", "measured", "target", "met"), cells)
