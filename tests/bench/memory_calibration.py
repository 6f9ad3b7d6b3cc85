"""Recall and false use of memory over its threshold: `make study ONLY=memory` (MEMORY_SEED, 100).

Two worlds: the demo's (fresh companies and phrasings), and questions written by hand in the style of real support
traffic. Pairs: two questions, do they match? Questions: one question against a whole memory; a false use is an entry
returned that does not answer it, also where another entry would have. Held out: pairs that nothing was written with in
view (tests.bench.held_out), by what makes their answers differ. Draws docs/memory.svg.
"""

import asyncio
import itertools
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deploy.demo.language import FRAMES, INTENTS, UNSEEN_FRAMES, company_name
from retrieval.contrast import conflict
from retrieval.encoder import Encoder
from retrieval.lexicon import Lexicon
from retrieval.memory import Asked, Background, Bar, Stored, decide, judged
from retrieval.reading import read
from retrieval.recollection import encode_views, load_background
from retrieval.settings import Settings
from retrieval.types import MemoryEntry
from tests.bench.held_out import Pair, pairs, paraphrases
from tests.bench.held_out_words import FIFTH, FOURTH, SIXTH, Vocabulary
from tests.bench.line_plot import Line, Panel, drawn
from tests.bench.memory_pairs import CONTRASTS, intents
from tests.bench.report import Figure, number, print_rows, verdict

THRESHOLDS = (0.15, 0.20, 0.25, 0.28, 0.30, 0.32, 0.34, 0.36, 0.38, 0.40, 0.45)
DRAWS = 4
HELD_OUT = 300
"""Pairs of each kind."""
FALSE_USE = 0.01
PLOT = Path(__file__).parents[2] / "docs" / "memory.svg"
Row = Sequence[str | float]


@dataclass(frozen=True)
class Question:
    """A question, what it means (equal for paraphrases), and the answer it has."""

    asked: Asked
    meaning: str
    answer: str


async def ask_all(encoder: Encoder, background: Background, questions: Sequence[str]) -> list[Asked]:
    lexicon = encoder.lexicon()
    readings = [read(question, lexicon) for question in questions]
    views = await encode_views(encoder, readings)
    return [background.ask(reading, own) for reading, own in zip(readings, views, strict=True)]


def demo_texts(rng: random.Random) -> list[tuple[str, str, str]]:
    """(question, meaning, answer): every noun phrase of every intent once, in a random frame, about one company."""
    company = company_name(rng)
    texts = []
    for intent in INTENTS:
        answer = intent.value(rng)
        for noun in (*intent.nouns, intent.unseen_noun):
            frame = rng.choice((*FRAMES, *UNSEEN_FRAMES))
            texts.append((frame.format(noun=noun, company=company), intent.key, answer))
    return texts


def hand_texts() -> list[tuple[str, str, str]]:
    return [
        (question, f"{number}", f"answer {chr(97 + number % 26)}{number // 26}")
        for number, (_, questions) in enumerate(intents())
        for question in questions
    ]


def stored(question: Question, order: int) -> Stored:
    entry = MemoryEntry(f"fb_{order}", "ten_bench", question.asked.reading.text, question.answer)
    return Stored(entry, question.asked, order)


def pair_scores(questions: Sequence[Question], lexicon: Lexicon) -> tuple[np.ndarray, np.ndarray]:
    """Scores of pairs with one meaning, and of pairs with two; -1 where a rule stands against the match."""
    same: list[float] = []
    other: list[float] = []
    for one, two in itertools.combinations(questions, 2):
        value = judged(one.asked, stored(two, 0), lexicon)
        (same if one.meaning == two.meaning else other).append(value)
    return np.array(same), np.array(other)


@dataclass(frozen=True)
class Outcome:
    """One question asked of one memory: the score of what came back (-1: nothing), and what that was worth."""

    score: float
    correct: bool
    known: bool
    entries: int


def ask_memory(
    questions: Sequence[Question], size: int, phrasings: int, rng: random.Random, lexicon: Lexicon
) -> list[Outcome]:
    """All questions but the stored ones, against a memory of `size` meanings in `phrasings` each, without a bar."""
    by_meaning: dict[str, list[Question]] = {}
    for question in rng.sample(list(questions), len(questions)):
        by_meaning.setdefault(question.meaning, []).append(question)
    kept = set(rng.sample(sorted(by_meaning), size))
    remembered = [question for meaning in kept for question in by_meaning[meaning][:phrasings]]
    memory = [stored(question, order) for order, question in enumerate(remembered)]
    outcomes = []
    for meaning, variants in by_meaning.items():
        for question in variants[phrasings:] if meaning in kept else variants:
            hits = decide(question.asked, memory, Bar(lowest=0.0, rise=0.0), len(memory), lexicon)
            correct = bool(hits) and hits[0].answer == question.answer
            outcomes.append(Outcome(hits[0].score if hits else -1.0, correct, meaning in kept, len(memory)))
    return outcomes


def rates(outcomes: Sequence[Outcome], bar: Bar) -> tuple[float, float]:
    """(recall of the questions that have an entry, false use of all questions)"""
    used = [outcome for outcome in outcomes if outcome.score >= bar.at(outcome.entries)]
    right = sum(outcome.correct for outcome in used)
    return right / sum(outcome.known for outcome in outcomes), (len(used) - right) / len(outcomes)


def table(title: str, rows: Sequence[Row], columns: Sequence[str]) -> str:
    lines = [f"\n{title}", "| threshold | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    lines += [f"| {row[0]} | " + " | ".join(f"{value:.3f}" for value in row[1:]) + " |" for row in rows]
    return "\n".join(lines)


def report(
    title: str, worlds: Sequence[Sequence[Question]], size: int, phrasings: Sequence[int], lexicon: Lexicon
) -> Sequence[Row]:
    """Print the table; returns its rows."""
    scores = [pair_scores(world, lexicon) for world in worlds]
    same, other = np.concatenate([s[0] for s in scores]), np.concatenate([s[1] for s in scores])
    rng = random.Random(size)
    asked = [
        [o for w in worlds for _ in range(DRAWS) for o in ask_memory(w, size, n, rng, lexicon)]
        for n in phrasings
    ]
    columns = ["pairs: recall", "pairs: false"]
    columns += [f"{name} ({count} stored)" for count in phrasings for name in ("recall", "false use")]
    rows: list[Row] = []
    for threshold in THRESHOLDS:
        row = [float((same >= threshold).mean()), float((other >= threshold).mean())]
        fixed = Bar(threshold, 0.0, 1.0)
        rows.append(
            [f"{threshold:.2f}", *row, *(rate for outcomes in asked for rate in rates(outcomes, fixed))]
        )
    alone = Bar().at(1)
    row = [float((same >= alone).mean()), float((other >= alone).mean())]
    rows.append(["shipped", *row, *(rate for outcomes in asked for rate in rates(outcomes, Bar()))])
    print(
        table(f"{title}: {len(same)} pairs alike, {len(other)} not; memory of {size} meanings", rows, columns)
    )
    return rows


async def held_out(encoder: Encoder, background: Background, found: Sequence[Pair]) -> np.ndarray:
    """The score of the one entry that a question's memory holds, by pair; -1 where a rule stands against it."""
    asked = await ask_all(encoder, background, [question for pair in found for question in pair])
    lexicon = encoder.lexicon()
    entries = [stored(Question(other, "", ""), 0) for other in asked[1::2]]
    hits = [
        decide(one, [entry], Bar(lowest=0.0, rise=0.0), 1, lexicon)
        for one, entry in zip(asked[::2], entries, strict=True)
    ]
    return np.array([hit[0].score if hit else -1.0 for hit in hits])


def shown(title: str, by_kind: Mapping[str, np.ndarray], alike: np.ndarray) -> Sequence[Figure]:
    """By kind, the share of pairs whose entry would be used at the shipped bar, and the recall of paraphrases."""
    bar = Bar().at(1)
    figures = [
        Figure(f"false use, {kind}", float((scores >= bar).mean()), target=FALSE_USE)
        for kind, scores in by_kind.items()
    ]
    figures.append(Figure("recall, another sentence", float((alike >= bar).mean())))
    cells = [(f.name, number(f.ours), f.bound, verdict(f.met)) for f in figures]
    print_rows(
        f"held out, {title}: {HELD_OUT} pairs of each kind, one entry",
        ("figure", "measured", "target", "met"),
        cells,
    )
    return figures


def panels(
    worlds: Mapping[str, Sequence[Row]], by_kind: Mapping[str, np.ndarray], alike: np.ndarray
) -> Sequence[Panel]:
    """Both curves of each world, of memories with one phrasing, and of the held-out pairs."""
    ticks = THRESHOLDS[:: len(THRESHOLDS) // 5]

    def curve(label: str, scores: np.ndarray, *, quiet: bool) -> Line:
        return Line(label, [(at, float((scores >= at).mean())) for at in THRESHOLDS], quiet)

    found = []
    for title, rows in worlds.items():
        points = {name: [(at, float(row[column])) for at, row in zip(THRESHOLDS, rows, strict=False)]
                  for name, column in (("recall", 3), ("false use", 4))}  # fmt: skip
        lines = [Line(name, each, name != "recall") for name, each in points.items()]
        found.append(Panel(title, lines, FALSE_USE, "threshold", ticks))
    kinds = [curve(kind.removeprefix("other "), scores, quiet=True) for kind, scores in by_kind.items()]
    found.append(
        Panel("Held out", [curve("recall", alike, quiet=False), *kinds], FALSE_USE, "threshold", ticks)
    )
    return found


async def calibrate(seed: int) -> bool:
    """Whether false use at the shipped bar is within its target for every kind of held-out pair."""
    settings = Settings()
    async with Encoder.load(settings.encoder_path(), settings.encoder_threads) as encoder:
        background = await load_background(encoder)

        async def world(texts: Sequence[tuple[str, str, str]]) -> list[Question]:
            asked = await ask_all(encoder, background, [text for text, _, _ in texts])
            return [
                Question(a, meaning, answer) for a, (_, meaning, answer) in zip(asked, texts, strict=True)
            ]

        lexicon = encoder.lexicon()
        demo = [await world(demo_texts(random.Random(seed + n))) for n in range(3)]
        by_hand = [await world(hand_texts())]
        worlds = {
            "Demo world": report("Demo world", demo, 12, (1, 3), lexicon),
            "Written by hand": report("Written by hand", by_hand, 25, (1, 2), lexicon),
        }
        near = [(read(one), read(other)) for one, other in CONTRASTS]
        caught = sum(conflict(one, other, "", lexicon) is not None for one, other in near)
        print(f"\nContrasting pairs that a rule tells apart: {caught} of {len(CONTRASTS)}")
        sets = {
            title: await measured(encoder, background, vocabulary, seed)
            for title, vocabulary in {
                "fourth words": FOURTH,
                "fifth words": FIFTH,
                "sixth words": SIXTH,
            }.items()
        }
    figures = [figure for title, found in sets.items() for figure in shown(title, *found)]
    PLOT.write_text(drawn(panels(worlds, *sets["sixth words"])), encoding="utf-8")
    return all(figure.met is not False for figure in figures)


async def measured(
    encoder: Encoder, background: Background, vocabulary: Vocabulary, seed: int
) -> tuple[Mapping[str, np.ndarray], np.ndarray]:
    """The scores of held-out pairs by kind, and of pairs alike."""
    by_kind = {
        kind: await held_out(encoder, background, found)
        for kind, found in pairs(vocabulary, HELD_OUT, seed).items()
    }
    return by_kind, await held_out(encoder, background, paraphrases(vocabulary, HELD_OUT, seed))


def study() -> bool:
    """Whether every target is met."""
    return asyncio.run(calibrate(int(os.environ.get("MEMORY_SEED", "100"))))
