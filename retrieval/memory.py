"""Whether a stored correction answers the question being asked. Pure: vectors in, a decision out.

A bare cosine cannot tell: two questions about one company are closer than two phrasings of one question.
So each question is compared in three views (retrieval.reading), each view's cosine is taken relative to how
close both questions are to a background of everyday questions (adaptive score normalisation, as in speaker
verification: Matejka et al., "Analysis of score normalization in multilingual speaker recognition", 2017),
and differences that vectors cannot see stand against a match (retrieval.contrast).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

import numpy as np

from retrieval.background import QUESTIONS
from retrieval.contrast import conflict, shares_only_sentence
from retrieval.lexicon import Lexicon, Vectors
from retrieval.reading import Reading, read
from retrieval.types import SAME_WORDING, MemoryEntry, MemoryHit

VIEWS = 3
NEAREST = 20
"""How many of the closest background questions set a question's level."""
SENTENCE = 0.15
"""What the score of two questions owes to their sentence where they share little else."""


@dataclass(frozen=True)
class Asked:
    """A question with its views' unit vectors, shape (3, d), and its level against the background."""

    reading: Reading
    vectors: Vectors
    level: float


@dataclass(frozen=True)
class Stored:
    """A correction, read and encoded. `order` rises with each write, so that the newest of equals wins."""

    entry: MemoryEntry
    asked: Asked
    order: int


class Background:
    """What an unrelated question scores. vectors: the background's unit vectors by view, shape (n, 3, d)."""

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = vectors

    def level(self, views: Vectors) -> float:
        """Mean cosine over the views of one question, shape (3, d), with its nearest background questions."""
        similarity = np.einsum("nvd,vd->nv", self._vectors, views)
        nearest = np.sort(similarity, axis=0)[-NEAREST:]
        return float(nearest.mean())

    def ask(self, reading: Reading, views: Vectors) -> Asked:
        return Asked(reading, views, self.level(views))


def background_readings() -> list[Reading]:
    """What a Background is made of, before encoding."""
    return [read(line) for line in QUESTIONS.strip().splitlines()]


def score(question: Asked, stored: Stored) -> float:
    """How surely both ask the same: 1 for the same wording, about 0 for unrelated ones. No rules applied, which only
    lower it."""
    if question.reading.same_wording(stored.asked.reading):
        return SAME_WORDING
    cosine = float(np.einsum("vd,vd->v", question.vectors, stored.asked.vectors).mean())
    if question.reading.same_content(stored.asked.reading):
        return cosine
    return cosine - (question.level + stored.asked.level) / 2


def judged(question: Asked, stored: Stored, lexicon: Lexicon) -> float:
    """The score after the rules: -1 where one stands against the match."""
    if conflict(question.reading, stored.asked.reading, stored.entry.answer, lexicon):
        return -1.0
    lowered = SENTENCE if shares_only_sentence(question.reading, stored.asked.reading, lexicon) else 0.0
    return score(question, stored) - lowered


@dataclass(frozen=True)
class Bar:
    """How sure a match must be. docs/memory.md has the curves that these defaults come from.

    The more entries a memory has, the likelier that one of them comes close by chance: the bar rises with the
    logarithm of their number, up to `highest`, so that false use stays about the same.
    """

    lowest: float = 0.28
    rise: float = 0.033
    highest: float = 0.40
    margin: float = 0.02
    """By how much a match must lead entries that give another answer: two that fit alike are no answer."""

    def at(self, entries: int) -> float:
        """The least score of a match in a memory of this many entries."""
        return min(self.lowest + self.rise * log(max(entries, 1)), self.highest)


def decide(
    question: Asked, candidates: Sequence[Stored], bar: Bar, entries: int, lexicon: Lexicon
) -> list[MemoryHit]:
    """The correction that answers the question, or none. entries: the size of the memory searched.

    candidates: its best scoring entries; those left out must score lower than these.
    """
    least = bar.at(entries)
    near = [stored for stored in candidates if score(question, stored) >= least - bar.margin]
    scored = [(judged(question, stored, lexicon), stored) for stored in near]
    scored.sort(key=lambda pair: (pair[0], pair[1].order), reverse=True)
    if not scored or scored[0][0] < least:
        return []
    best_score, best = scored[0]
    if any(_rivals(best, other) and best_score - value < bar.margin for value, other in scored[1:]):
        return []
    entry = best.entry
    return [MemoryHit(entry.id, entry.question, entry.answer, round(min(best_score, 1.0), 4))]


def _rivals(best: Stored, other: Stored) -> bool:
    """Another answer to another question. Of two answers to one question the newer has replaced the older."""
    same_answer = best.entry.answer.strip().casefold() == other.entry.answer.strip().casefold()
    return not same_answer and not best.asked.reading.same_wording(other.asked.reading)
