"""Make a facts file for `graft demo --facts`: one company, its rival, what is corrected and what is asked.

The same seed gives the same file. Facts are drawn from the demo's intents, so the tiny base model can understand
the questions, but companies and values are new to it.

Usage: python -m deploy.demo.make_facts --seed N [--company NAME] [--out FILE]
"""

import argparse
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from deploy.demo.corpus import memorised_companies
from deploy.demo.language import FRAMES, INTENTS, STATEMENTS, UNSEEN_FRAMES, Intent, ask, company_name
from deploy.demo.questions import in_unseen_frame, with_unseen_noun

FACTS = 12
HANDBOOK_FACTS = 4
PHRASINGS = 3
ELSEWHERE = 4
"""Phrasings per fact that nobody posts, made of noun phrases and frames that the base model's corpus has."""
OTHER_COMPANIES = 40


def make(seed: int, company: str | None = None, rival: str | None = None) -> dict[str, Any]:
    """The facts file's content, as plain data (`gateway.cli.facts.FactsFile` validates it)."""
    rng = random.Random(f"facts:{seed}")
    names = new_names(rng, OTHER_COMPANIES + 2)
    own, other, others = company or names[0], rival or names[1], names[2:]
    intents = rng.sample(INTENTS, len(INTENTS))
    corrected, written = intents[:FACTS], intents[FACTS : FACTS + HANDBOOK_FACTS]
    untouched = intents[FACTS + HANDBOOK_FACTS :]
    first = corrected[0]
    return {
        "company": own,
        "rival": other,
        "rival_answer": first.value(rng),
        "handbook": _handbook(own, written, rng),
        "facts": [_fact(intent, own, rng) for intent in corrected],
        "undisputed": [question for intent in untouched for question in phrasings(intent, own, 2, rng)],
        "never_corrected": [question for intent in untouched for question in _fresh(intent, own, rng)],
        "other_companies": [ask(rng.choice(INTENTS), name, rng) for name in others],
        "near_misses": _near_misses(first, own, others, rng),
    }


def new_names(rng: random.Random, count: int) -> list[str]:
    """Companies that the base model has not memorised."""
    taken = {company.name for company in memorised_companies()}
    names: list[str] = []
    while len(names) < count:
        name = company_name(rng)
        if name not in taken:
            taken.add(name)
            names.append(name)
    return names


def phrasings(intent: Intent, company: str, count: int, rng: random.Random) -> list[str]:
    """Distinct phrasings; noun phrases are spread before frames repeat."""
    frames = rng.sample(FRAMES, count)
    nouns = rng.sample(intent.nouns, len(intent.nouns))
    return [frame.format(noun=nouns[i % len(nouns)], company=company) for i, frame in enumerate(frames)]


def _fact(intent: Intent, company: str, rng: random.Random) -> dict[str, Any]:
    asked = phrasings(intent, company, PHRASINGS + ELSEWHERE, rng)
    return {
        "answer": intent.value(rng),
        "phrasings": asked[:PHRASINGS],
        "elsewhere": asked[PHRASINGS:],
        "unseen_frames": [
            frame.format(noun=noun, company=company)
            for frame, noun in zip(UNSEEN_FRAMES, rng.sample(intent.nouns, len(UNSEEN_FRAMES)), strict=True)
        ],
        "unseen_noun": [with_unseen_noun(intent, company, rng)],
    }


def _fresh(intent: Intent, company: str, rng: random.Random) -> list[str]:
    return [ask(intent, company, rng), in_unseen_frame(intent, company, rng)]


def _handbook(company: str, intents: Sequence[Intent], rng: random.Random) -> dict[str, Any]:
    sections, checks = [], []
    for intent in intents:
        value = intent.value(rng)
        sentence = rng.choice(STATEMENTS[:3]).format(
            noun=rng.choice(intent.nouns), company=company, value=value
        )
        sections.append(f"## {intent.nouns[0].capitalize()}\n\n{sentence}")
        checks.append({"question": ask(intent, company, rng), "answer": value})
    return {"text": f"# {company} handbook\n\n" + "\n\n".join(sections) + "\n", "checks": checks}


def _near_misses(intent: Intent, company: str, others: Sequence[str], rng: random.Random) -> list[str]:
    """The same question about other companies, and the same company asked about something else."""
    another = [ask(other, company, rng) for other in rng.sample([i for i in INTENTS if i is not intent], 4)]
    return another + [ask(intent, name, rng) for name in others[:4]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the file (default: %(default)s)")
    parser.add_argument("--company", help="name of the company (default: a made-up one)")
    parser.add_argument("--rival", help="name of the other tenant's company (default: a made-up one)")
    parser.add_argument("--out", type=Path, help="file to write (default: standard output)")
    arguments = parser.parse_args()
    text = yaml.safe_dump(
        make(arguments.seed, arguments.company, arguments.rival),
        allow_unicode=True,
        sort_keys=False,
        width=110,
    )
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
