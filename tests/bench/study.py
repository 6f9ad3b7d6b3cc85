"""Long studies: `make study` runs all, `make study ONLY=demo` one. Each ends with a table and exits 1 when a target
is missed.

demo: the whole walk for five companies with their own facts, values and phrasings; the figures that count are the
worst of the five, written to `docs/study-demo.md`.
rollout: simulated rollouts, how many are ended for nothing and how soon a drop is caught (`docs/study-rollout.md`).
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from deploy.demo.make_facts import make
from tests.bench import rollout_study
from tests.bench.report import print_rows, verdict

ROOT = Path(__file__).parents[2]
SEEDS = (11, 12, 13, 14, 15)


def run_demo(seed: int, directory: Path) -> dict[str, Any]:
    """One whole demo about the company that the seed makes; its JSON result."""
    facts = directory / f"company-{seed}.yaml"
    content = make(seed)
    facts.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), encoding="utf-8")
    command = [str(Path(sys.executable).parent / "graft"), "demo", "--facts", str(facts), "--json"]
    finished = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    result: dict[str, Any] = json.loads(finished.stdout)
    return {**result, "company": content["company"], "seed": seed}


def demo_study() -> bool:
    with tempfile.TemporaryDirectory(prefix="graft-study-") as directory:
        results = [run_demo(seed, Path(directory)) for seed in SEEDS]
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


STUDIES: dict[str, Callable[[], bool]] = {"demo": demo_study, "rollout": rollout_study.study}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="?", const="", default="", help=f"one of: {', '.join(STUDIES)}")
    only = parser.parse_args().only
    if only and only not in STUDIES:
        parser.error(f"there is no study {only!r}; there are: {', '.join(STUDIES)}")
    chosen = [STUDIES[only]] if only else list(STUDIES.values())
    sys.exit(0 if all([study() for study in chosen]) else 1)


if __name__ == "__main__":
    main()
