"""Where a word stands in its sentence: enough of English grammar to tell what is done from what it is done to.

Function words alone decide; no part of speech is looked up. Where they leave it open, a word counts as a predicate,
because memory is stricter with those.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto

_TOKEN = re.compile(r"[^\W_]+(?:[.'’&-][^\W_]+)*|[,;:.?!]")
_POSSESSIVE = re.compile(r"['’]s?$")
_MANNER = re.compile(r"(?:[^p]ly|[^e]ed)$")
_SHORTEST = 5
"""Letters at least of a word that its ending tells to be an adverb or a participle."""


class Before(Enum):
    """What precedes a run of content words."""

    START = auto()
    DETERMINER = auto()
    PREPOSITION = auto()
    RELATION = auto()
    PLAIN_VERB = auto()
    WHICH = auto()
    VERB_NEXT = auto()
    AUXILIARY = auto()
    BE = auto()
    ADVERB = auto()
    OTHER = auto()


_NOMINAL = {
    Before.DETERMINER,
    Before.PREPOSITION,
    Before.RELATION,
    Before.PLAIN_VERB,
    Before.WHICH,
    Before.START,
}
_SAID = (Before.ADVERB, Before.RELATION)
_CLASSES = {
    word: kind
    for kind, words in {
        Before.DETERMINER: "a an the this these those some any all each my mine our your his her its their there "
        "many much more most few no another whose",
        Before.PREPOSITION: "of at in on for from with by about as into per between than like without during until "
        "regarding concerning",
        Before.RELATION: "after before since within under over behind near against across around through",
        Before.PLAIN_VERB: "have has had having get give tell know need want ask asking look looking let say find help",
        Before.WHICH: "which what",
        Before.VERB_NEXT: "i me we us you he him she it they them who whom somebody someone anybody everyone one "
        "anything something everything that to",
        Before.AUXILIARY: "do does did will would shall should can could may might must cannot",
        Before.BE: "is are am was were be been being",
        Before.ADVERB: "always often never seldom sometimes still also just only even ever already soon not again now "
        "yet too today tonight tomorrow yesterday lately nowadays anymore",
        Before.OTHER: "why when where how if then so here out up please thanks thank hi hello hey",
    }.items()
    for word in words.split()
}
_NO_ADVERBS = frozenset(
    ("hourly", "daily", "nightly", "weekly", "monthly", "quarterly", "yearly", "early", "family", "assembly")
)
_JOINING = frozenset(("and", "or", "but"))


@dataclass(frozen=True)
class Grammar:
    """predicates: words that may be a verb, an adverb or said of something. topics: the words that a question without
    capitals is most likely about, where a name would stand. heads: the last words of what is named: `time` of
    `delivery time`, `price` and `delivery` of `price of delivery`."""

    predicates: frozenset[str]
    topics: frozenset[str]
    heads: frozenset[str]


@dataclass(frozen=True)
class _Run:
    """Content words in a row, what stands before them, whether a verb was still awaited there, and whether one
    follows."""

    words: Sequence[str]
    before: Before
    awaited: bool
    verb_follows: bool
    followed_by: str


def parse(text: str) -> Grammar:
    """Total: any text can be read."""
    clauses = [(list(_runs(clause)), end) for clause, end in _clauses(text)]
    predicates = {word for runs, _ in clauses for run in runs for word in _predicates(run)}
    predicates |= {word for word in _TOKEN.findall(text.casefold()) if _CLASSES.get(word) in _SAID}
    topics = {word for runs, end in clauses for word in _topics(runs, end)}
    named = [[word for word in run.words if word not in predicates] for runs, _ in clauses for run in runs]
    heads = frozenset(words[-1] for words in named if words)
    return Grammar(frozenset(predicates), frozenset(topics), heads)


def _clauses(text: str) -> Iterator[tuple[list[str], str]]:
    """Words of each clause with the punctuation that ends it."""
    words: list[str] = []
    for token in _TOKEN.findall(text.casefold()):
        if token[0].isalnum():
            words.append(token)
        elif words:
            yield words, token
            words = []
    if words:
        yield words, ""


def _runs(clause: Sequence[str]) -> Iterator[_Run]:
    before, awaited, content = Before.START, False, list[str]()
    for position, token in enumerate([*clause, ""]):
        kind = _kind(token, first=position == 0)
        if kind is None and token and token not in _JOINING:
            word = _POSSESSIVE.sub("", token)
            content.append(word)
            if word == token:
                continue
            kind = Before.DETERMINER
        if content:
            yield _Run(content, before, awaited, _has_verb(clause[position:]), token)
            awaited = awaited and len(content) == 1 and before in _NOMINAL
            content = []
        if kind is not None:
            awaited = (awaited or kind is Before.AUXILIARY) and kind is not Before.PLAIN_VERB
            before = kind


def _kind(token: str, *, first: bool) -> Before | None:
    if first and token in ("have", "has", "had"):
        return Before.AUXILIARY
    return _CLASSES.get(token)


def _has_verb(tokens: Sequence[str]) -> bool:
    verbs = (Before.AUXILIARY, Before.BE, Before.PLAIN_VERB)
    return any(_CLASSES.get(token) in verbs for token in tokens)


def _predicates(run: _Run) -> Iterator[str]:
    for position, word in enumerate(run.words):
        after_adverb = position > 0 and _is_adverb(run.words[position - 1])
        if after_adverb or _by_ending(word) or _by_place(run, position):
            yield word


def _by_place(run: _Run, position: int) -> bool:
    if run.before is Before.START:
        orders = _CLASSES.get(run.followed_by) in (Before.DETERMINER, Before.VERB_NEXT)
        return len(run.words) == 1 and orders
    if run.before is Before.WHICH:
        return not run.verb_follows
    if run.before in _NOMINAL:
        return run.awaited and position > 0
    return position == 0 or run.before is not Before.VERB_NEXT


def _by_ending(word: str) -> bool:
    return len(word) >= _SHORTEST and _MANNER.search(word) is not None and word not in _NO_ADVERBS


def _is_adverb(word: str) -> bool:
    return word.endswith("ly") and _by_ending(word)


def _topics(runs: Sequence[_Run], end: str) -> Iterator[str]:
    after_prepositions = [run for run in runs if run.before is Before.PREPOSITION]
    if after_prepositions:
        yield from after_prepositions[-1].words
    if end in (":", ",") and runs and runs[0].before is Before.START and not any(_predicates(runs[0])):
        yield from runs[0].words
    for run in runs:
        if run.before is Before.AUXILIARY:
            yield from run.words[:-1]
        if _POSSESSIVE.search(run.followed_by):
            yield from run.words
