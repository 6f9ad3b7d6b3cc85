"""Names where nothing is in capitals: two questions show them by what they share and how they differ.

A word that is no English is a name by itself (`retrieval.reading`); everyday words (*silver fox*) show by their place.
"""

import itertools
from collections.abc import Collection, Mapping, Sequence

from retrieval.lexicon import SYNONYMS, Lexicon
from retrieval.reading import Reading


def one_name(words: Collection[str], one: Reading, other: Reading) -> bool:
    """Whether all content that both have, these words, may be one name: it stands in a row in both."""
    return _uncased(one, other) and all(_in_a_row(reading, words) for reading in (one, other))


def other_name(one: Reading, other: Reading, lexicon: Lexicon) -> bool:
    """Whether beside a noun phrase that both have, a word that both have is part of two names: *proud acorn* and *wild
    acorn*, *fintaro motors* and *fintaro*."""
    if not _uncased(one, other):
        return False
    shared = one.said & other.said
    phrases = [row for row in _rows(one, shared) if len(row) > 1 and row in _rows(other, shared)]
    parts = shared.difference(*phrases)
    if not phrases or not parts:
        return False
    left, right = _leads(one, parts), _leads(other, parts)
    return any(
        lexicon.closeness(left[word], right[word]) < SYNONYMS for word in parts & left.keys() & right.keys()
    ) or any(_trade(reading, parts & reading.names, shared) for reading in (one, other))


def _uncased(one: Reading, other: Reading) -> bool:
    return one.text.islower() and other.text.islower()


def _in_a_row(reading: Reading, words: Collection[str]) -> bool:
    return any(len(row) > 1 and set(row) == set(words) for row in _rows(reading, words))


def _rows(reading: Reading, words: Collection[str]) -> Sequence[Sequence[str]]:
    """These words of a question, those in a row together."""
    parted = itertools.groupby(reading.bare, key=lambda word: word in words)
    return [list(row) for among, row in parted if among]


def _leads(reading: Reading, parts: Collection[str]) -> Mapping[str, str]:
    """What stands before each of these everyday words and may belong to one name with it; a participle does not."""
    return {
        second: first
        for first, second in itertools.pairwise(reading.bare)
        if second in parts
        and second not in reading.names
        and first in reading.content
        and not first.endswith("ed")
    }


def _trade(reading: Reading, names: Collection[str], shared: Collection[str]) -> bool:
    """Whether one of these names goes on with a noun that only this question has."""
    grammar = reading.grammar
    return any(
        second in grammar.topics or (second in grammar.heads and first not in grammar.predicates)
        for first, second in itertools.pairwise(reading.bare)
        if first in names and second in reading.content and second not in shared
    )
