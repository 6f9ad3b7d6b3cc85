"""Score the tiny base model through vLLM at temperature 0, with companies, values and phrasings made from a seed.

Prints a table (figure, measured, target, met), writes `scores.json` beside the model when told to, and exits 1 when a
target is missed.

Usage: python -m deploy.demo.scores [--seed N] [--count N] [--model DIR] [--write]
"""

import argparse
import asyncio
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from adapters.vllm import VllmEngine
from deploy.demo.questions import Question, fresh_questions
from deploy.demo.serving import engine

MODEL = Path(__file__).parent / "model"
TARGETS = {
    "from context": 0.90,
    "absent fact": 0.95,
    "absent company": 0.95,
    "no context": 0.97,
    "general": 0.95,
}
CONCURRENCY = 32


@dataclass(frozen=True)
class Score:
    kind: str
    right: int
    asked: int

    @property
    def share(self) -> float:
        return self.right / self.asked

    @property
    def met(self) -> bool:
        return self.share >= TARGETS.get(self.kind, 0.0)


async def ask(url: str, token: str, questions: Sequence[Question]) -> list[str]:
    """The base model's answers, in order."""
    slots = asyncio.Semaphore(CONCURRENCY)
    async with httpx.AsyncClient(trust_env=False) as http:
        replica = VllmEngine(url, token, http)

        async def one(question: Question) -> str:
            async with slots:
                return (await replica.chat("base", question.messages, max_tokens=32)).texts[0].strip()

        return await asyncio.gather(*(one(question) for question in questions))


def scores(questions: Sequence[Question], answers: Sequence[str]) -> list[Score]:
    """Exact matches by kind, in the order the kinds first appear."""
    asked = Counter(question.kind for question in questions)
    right = Counter(q.kind for q, answer in zip(questions, answers, strict=True) if answer == q.answer)
    return [Score(kind, right[kind], count) for kind, count in asked.items()]


def table(found: Sequence[Score], seed: int) -> Table:
    made = Table(title=f"The base model, seed {seed}", title_justify="left")
    for heading in ("figure", "measured", "target", "met"):
        made.add_column(heading)
    for score in found:
        target = TARGETS.get(score.kind)
        shown = ("", "") if target is None else (f"≥ {target:.2f}", "yes" if score.met else "NO")
        made.add_row(score.kind, f"{score.share:.3f} of {score.asked}", *shown)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the questions (default: %(default)s)")
    parser.add_argument(
        "--count", type=int, default=300, help="questions of each kind (default: %(default)s)"
    )
    parser.add_argument("--model", type=Path, default=MODEL, help="directory of the model")
    parser.add_argument("--write", action="store_true", help="write scores.json beside the model")
    arguments = parser.parse_args()
    questions = fresh_questions(arguments.seed, arguments.count)
    with engine(arguments.model) as running:
        answers = asyncio.run(ask(running.url, running.token, questions))
    found = scores(questions, answers)
    Console().print(table(found, arguments.seed))
    if arguments.write:
        content = {
            "seed": arguments.seed,
            "scores": {s.kind: {"share": s.share, "asked": s.asked} for s in found},
        }
        (arguments.model / "scores.json").write_text(json.dumps(content, indent=2) + "\n")
    sys.exit(0 if all(score.met for score in found) else 1)


if __name__ == "__main__":
    main()
