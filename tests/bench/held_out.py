"""Pairs of questions with different answers, made from a seed and a vocabulary (tests.bench.held_out_words). Pure.

A negation or a renumbering is made of a template, a subject and two words in its gap.
"""

import random
from collections.abc import Callable, Mapping, Sequence

from tests.bench.held_out_words import Vocabulary

Pair = tuple[str, str]
Maker = Callable[[Vocabulary, random.Random], Pair]


def pairs(vocabulary: Vocabulary, count: int, seed: int) -> Mapping[str, Sequence[Pair]]:
    """By kind, so many different pairs, the same for the same seed."""
    rng = random.Random(f"held out:{seed}")
    return {kind: _different(make, vocabulary, count, rng) for kind, make in _KINDS.items()}


def paraphrases(vocabulary: Vocabulary, count: int, seed: int) -> Sequence[Pair]:
    """Pairs that have the same answer: one intent of one company in two frames."""
    rng = random.Random(f"alike:{seed}")
    return _different(_alike, vocabulary, count, rng)


def _different(make: Maker, vocabulary: Vocabulary, count: int, rng: random.Random) -> list[Pair]:
    found: dict[Pair, None] = {}
    while len(found) < count:
        found[make(vocabulary, rng)] = None
    return list(found)


def _nouns(vocabulary: Vocabulary, rng: random.Random) -> list[str]:
    return rng.sample(rng.choice(vocabulary.intents).split("/"), 2)


def _intent(vocabulary: Vocabulary, rng: random.Random) -> Pair:
    company, frames = vocabulary.company(rng), rng.choices(vocabulary.frames, k=2)
    nouns = _nouns(vocabulary, rng)
    one, other = (frame.format(noun=n, company=company) for frame, n in zip(frames, nouns, strict=True))
    return one, other


def _intent_in_lower_case(vocabulary: Vocabulary, rng: random.Random) -> Pair:
    one, other = _intent(vocabulary, rng)
    return one.lower(), other.lower()


def _another_company(vocabulary: Vocabulary, rng: random.Random) -> Pair:
    noun, frames = _nouns(vocabulary, rng)[0], rng.choices(vocabulary.frames, k=2)
    one = vocabulary.company(rng)
    other = next(name for name in iter(lambda: vocabulary.company(rng), "") if name != one)
    return frames[0].format(noun=noun, company=one), frames[1].format(noun=noun, company=other)


def _another_company_in_lower_case(vocabulary: Vocabulary, rng: random.Random) -> Pair:
    one, other = _another_company(vocabulary, rng)
    return one.lower(), other.lower()


def _alike(vocabulary: Vocabulary, rng: random.Random) -> Pair:
    company, noun = vocabulary.company(rng), _nouns(vocabulary, rng)[0]
    one, other = (frame.format(noun=noun, company=company) for frame in rng.sample(vocabulary.frames, 2))
    return one, other


def _prefix(vocabulary: Vocabulary, rng: random.Random) -> Pair:
    return _filled(
        vocabulary, rng, vocabulary.adjective_templates, rng.choice(vocabulary.prefixed).split("/")
    )


def _other_word(vocabulary: Vocabulary, rng: random.Random) -> Pair:
    verb = rng.random() < vocabulary.verb_share
    words, templates = (
        (vocabulary.verbs, vocabulary.verb_templates)
        if verb
        else (vocabulary.adverbs, vocabulary.adverb_templates)
    )
    return _filled(vocabulary, rng, templates, rng.choice(words).split("/"))


def _number(vocabulary: Vocabulary, rng: random.Random) -> Pair:
    return _filled(vocabulary, rng, vocabulary.number_templates, rng.sample(vocabulary.numbers, 2))


def _ordinal(vocabulary: Vocabulary, rng: random.Random) -> Pair:
    return _filled(vocabulary, rng, vocabulary.ordinal_templates, rng.sample(vocabulary.ordinals, 2))


def _filled(
    vocabulary: Vocabulary, rng: random.Random, templates: Sequence[str], words: Sequence[str]
) -> Pair:
    template, subject = rng.choice(templates), rng.choice(vocabulary.subjects)
    one, other = (template.format(subject=subject, word=word) for word in rng.sample(words, 2))
    return one, other


_KINDS: Mapping[str, Maker] = {
    "other intent": _intent,
    "other company": _another_company,
    "other company, in lower case": _another_company_in_lower_case,
    "negation by a prefix": _prefix,
    "negation by another word": _other_word,
    "other number": _number,
    "other ordinal": _ordinal,
    "other intent, in lower case": _intent_in_lower_case,
}
