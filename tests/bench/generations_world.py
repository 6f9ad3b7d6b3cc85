"""What ten nights are about: two companies that one tenant answers for, and which of their facts are corrected when.
Pure."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from deploy.demo.language import INTENTS, UNSEEN_FRAMES
from deploy.demo.make_facts import new_names, phrasings
from gateway.cli.facts import Check

COMPANIES = 2
POSTED = 3
"""Phrasings of a fact that people correct."""
OTHERS = 3
"""Phrasings that nobody posts. The first is asked by somebody on the day, and memory answers it."""
NEVER = 3
"""Phrasings of a question that nobody ever corrects, asked by the measurement alone."""


@dataclass(frozen=True)
class Fact:
    answer: str
    posted: Sequence[str]
    asked: str
    """A further phrasing that traffic brings."""
    others: Sequence[str]
    """Phrasings that the system never sees but when it is measured."""

    @property
    def fixed(self) -> list[Check]:
        return [Check(question=text, answer=self.answer) for text in self.posted]

    @property
    def unseen(self) -> list[Check]:
        return [Check(question=text, answer=self.answer) for text in self.others]


@dataclass(frozen=True)
class World:
    nights: Sequence[Sequence[Fact]]
    """The facts corrected before each night."""
    undisputed: Sequence[str]
    """Everyday questions that nobody corrects."""
    never: Sequence[str]
    """The same facts in other words, for the measurement: nobody has said the answer."""


def make(seed: int, nights: int, per_night: int) -> World:
    """The same seed gives the same world. Raises ValueError when there are too few facts."""
    rng = random.Random(f"generations:{seed}")
    pairs = [(company, intent) for company in new_names(rng, COMPANIES) for intent in INTENTS]
    rng.shuffle(pairs)
    wanted = nights * per_night
    if wanted >= len(pairs):
        raise ValueError(f"{wanted} facts are more than the {len(pairs)} there are")
    facts = []
    for company, intent in pairs[:wanted]:
        asked = phrasings(intent, company, POSTED + OTHERS, rng)
        facts.append(Fact(intent.value(rng), asked[:POSTED], asked[POSTED], asked[POSTED + 1 :]))
    undisputed, never = [], []
    for company, intent in pairs[wanted:]:
        first, *rest = phrasings(intent, company, NEVER, rng)
        unseen = rng.choice(UNSEEN_FRAMES).format(noun=rng.choice(intent.nouns), company=company)
        undisputed.append(first)
        never += [*rest, unseen]
    by_night = [facts[start : start + per_night] for start in range(0, wanted, per_night)]
    return World(by_night, undisputed, never)
