"""Latency and throughput: `make bench` runs all parts, `make bench ONLY=gateway` one. Each prints a table and writes it
as JSON; the exit code is 1 when a target is missed, 2 when a measurement could not be made. README.md beside this file
says how to read it.
"""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.bench import adapters, fairness, gateway, scale, slots
from tests.bench.part import Options, Outcome
from tests.bench.processes import ROOT, BenchError
from tests.bench.report import number, print_figures, print_rows, write_json

PARTS: dict[str, tuple[Callable[[Options], Outcome], str]] = {
    "adapters": (adapters.run, "100 hot swaps under the load of two tenants"),
    "fairness": (fairness.run, "one tenant floods at 20 times its share, against a real vLLM"),
    "gateway": (gateway.run, "what one worker adds to a request, beside other proxies"),
    "scale": (scale.run, "10,000 tenants with three versions each"),
    "slots": (slots.run, "more adapters than a real vLLM has slots, through us and asked directly"),
}


def arguments(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tests.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", choices=["", *PARTS], metavar="NAME", help=", ".join(PARTS))
    parser.add_argument("--list", action="store_true", help="name the parts and end")
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="how long one load lasts (default: %(default)s)"
    )
    parser.add_argument("--peers", action="store_true", help="install other proxies and measure them too")
    parser.add_argument(
        "--long", action="store_true", help="also what takes minutes: memory over 200,000 requests"
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / ".graft" / "bench", help="where results go (default: .graft/bench)"
    )
    return parser.parse_args(given)


def show(name: str, outcome: Outcome, out: Path) -> bool:
    """Print and write one part's outcome; whether no target was missed."""
    for title, rows in outcome.tables.items():
        if rows:
            headings = list(rows[0])
            cells = [
                [value if isinstance(value, str) else _cell(value) for value in row.values()] for row in rows
            ]
            print_rows(f"{name}: {title}", headings, cells)
    print_figures(name, outcome.figures)
    for note in outcome.notes:
        print(note)
    document = {
        "part": name,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "figures": [figure.as_json() for figure in outcome.figures],
        "notes": outcome.notes,
        "tables": outcome.tables,
    }
    write_json(out / f"{name}.json", document)
    return all(figure.met is not False for figure in outcome.figures)


def _cell(value: object) -> str:
    return number(value) if isinstance(value, int | float) else ""


def main() -> None:
    given = arguments(sys.argv[1:])
    if given.list:
        for name, (_, meaning) in PARTS.items():
            print(f"{name:<10} {meaning}")
        return
    options = Options(given.seconds, given.peers, given.long, given.out.resolve())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    chosen = [given.only] if given.only else list(PARTS)
    try:
        met = [show(name, PARTS[name][0](options), options.directory) for name in chosen]
    except BenchError as error:
        print(f"tests.bench: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0 if all(met) else 1)


if __name__ == "__main__":
    main()
