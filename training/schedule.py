"""In which order a run trains on its dataset, and what it watches on the way. Pure."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from training.dataset import Dataset, Example, Source
from training.recipe import Recipe

T = TypeVar("T")


def schedule(dataset: Dataset, anchors: Sequence[Example], recipe: Recipe) -> list[Example]:
    """The rows of a whole run in order: each batch has the recipe's shares, each fact its turn, each kind of
    anchor its turn. A share with nothing in it falls to the anchors, and without anchors to the
    corrections."""
    rng = random.Random(recipe.seed)
    replayed = round(recipe.batch_size * recipe.replay_share)
    unknowns = round(replayed * recipe.unknown_share) if dataset.unknown_train else 0
    contrasts = round(replayed * recipe.contrast_share) if dataset.contrast else 0
    parts = [
        (unknowns, _rounds([dataset.unknown_train], rng)),
        (contrasts, _rounds([dataset.contrast], rng)),
        (replayed - unknowns - contrasts if anchors else 0, _rounds(_by(anchors, lambda a: a.kind), rng)),
    ]
    corrections = _rounds([fact.train for fact in dataset.facts], rng)
    rows: list[Example] = []
    for _ in range(recipe.steps(len(dataset.facts))):
        batch = [next(source) for count, source in parts for _ in range(count)]
        batch += [next(corrections) for _ in range(recipe.batch_size - len(batch))]
        rng.shuffle(batch)
        rows += [row.served if rng.random() < _context_share(row, recipe) else row for row in batch]
    return rows


def _context_share(row: Example, recipe: Recipe) -> float:
    """Guessing begins where a passage comes near the question, so what keeps the base's answer is asked with passages
    more often than not."""
    guarded = row.source in (Source.UNCORRECTED, Source.CONTRAST)
    return max(recipe.context_share, 0.6) if guarded else recipe.context_share


def validation(dataset: Dataset, size: int = 24) -> list[Example]:
    """The slice of the training side that alone drives early stopping: the lowest hashes, corrections
    first."""
    ranked = sorted(dataset.train, key=lambda example: example.hash)
    corrections = [example for example in ranked if example.correction_id]
    rest = [example for example in ranked if not example.correction_id]
    chosen = [*corrections[: size * 2 // 3], *rest[: size // 3]]
    return [example.served if number % 2 else example for number, example in enumerate(chosen)]


def _by(items: Iterable[T], key: Callable[[T], str]) -> list[list[T]]:
    groups: dict[str, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.values())


def _rounds(groups: Sequence[Sequence[T]], rng: random.Random) -> Iterator[T]:
    """Endlessly one item of each group in turn, each group's items shuffled anew when they are used up."""
    turns = [_endless(group, rng) for group in groups if group]
    while turns:
        rng.shuffle(turns)
        for turn in turns:
            yield next(turn)


def _endless(items: Sequence[T], rng: random.Random) -> Iterator[T]:
    while True:
        yield from rng.sample(items, len(items))
