"""Reasons why two questions cannot have the same answer, however close their vectors are.

Sentence encoders place `monthly` beside `yearly` and `enable` beside `disable`: opposites share their
contexts. Each rule here is one such difference, general to English; docs/memory.md says what they cost.
"""

import itertools
from collections import Counter
from collections.abc import Collection, Sequence

from retrieval.lexicon import SYNONYMS, Lexicon, inflections, stems
from retrieval.reading import Reading, answer_kinds, kind_of
from retrieval.uncased import one_name, other_name

_OPPOSITES = frozenset(
    frozenset(pair.split("/"))
    for pair in """
    enable/disable archive/restore import/export
    upload/download start/end begin/finish open/close before/after with/without include/exclude
    included/excluded minimum/maximum min/max smallest/largest first/last early/late earliest/latest
    old/new oldest/newest increase/decrease raise/lower add/remove add/delete create/delete send/receive
    incoming/outgoing internal/external internal/public public/private buy/sell in/out on/off
    upgrade/downgrade higher/lower higher/cheaper bigger/smaller bigger/cheaper more/less most/least
    student/teacher adult/child sender/receiver arrival/departure arrive/depart check-in/check-out
    login/logout domestic/international paid/free debit/credit hire/fire join/leave show/hide
    accept/reject allow/forbid grant/revoke
    employer/employee buyer/seller inside/outside full/partial same/different fast/slow cheap/expensive
    basic/premium left/right top/bottom pause/resume winter/summer morning/evening invite/remove
    manual/automatic single/double above/below over/under input/output online/offline entry/exit
    enter/leave borrow/lend push/pull win/lose true/false male/female man/woman men/women
    """.split()  # noqa: SIM905
)
_NEGATIVE = ("un", "in", "im", "ir", "il", "non", "non-", "dis")
_STEM = 4
"""Letters at least of a word that a prefix turns into its opposite."""
RELATED = 0.4
"""Closeness at least of two words that may be about one topic. Of names, nine in ten pairs have less than 0.19."""
AKIN = 0.25
"""Closeness at least of two nouns that may name one kind of thing: `fee`/`cost` 0.44, `forms`/`address` 0.11."""


def conflict(question: Reading, stored: Reading, answer: str, lexicon: Lexicon) -> str | None:
    """Why the stored question's answer cannot answer this question; None when nothing stands against it.

    answer: the stored one. Where the stored question does not tell what kind of thing it asks for, that may.
    """
    if not (question.names <= stored.words and stored.names <= question.words):
        return "name"
    apart = _unmatched(question, stored), _unmatched(stored, question)
    if not all(lexicon.everyday(word) for side in apart for word in side):
        return "name"
    if other_name(question, stored, lexicon):
        return "name"
    if question.numbers != stored.numbers:
        return "number"
    if question.negated != stored.negated:
        return "negation"
    if question.units and stored.units and question.units != stored.units:
        return "unit"
    if _opposed(question, stored):
        return "opposite"
    if _free_against_paid(question, stored) or _free_against_paid(stored, question):
        return "free"
    kinds = stored.kinds or answer_kinds(answer)
    if question.kinds and kinds and not question.kinds & kinds:
        return "kind"
    if _other_predicate(question, stored, apart, lexicon):
        return "predicate"
    if _other_topic(question, stored, apart, lexicon):
        return "topic"
    if _another_thing(question, stored, apart, lexicon):
        return "thing"
    return None


def shares_only_sentence(question: Reading, stored: Reading, lexicon: Lexicon) -> bool:
    """Whether all content that both have is what is done or said (`Has anything changed about…`), or both are one
    sentence around two things, so that most of their likeness is their sentence."""
    apart = left, right = _unmatched(question, stored), _unmatched(stored, question)
    if not left or not right or not _on_two_things(question, stored, apart, lexicon):
        return False
    return len(left) < len(question.content) or _frame(question, apart) == _frame(stored, apart)


def _on_two_things(
    question: Reading, stored: Reading, apart: tuple[Sequence[str], Sequence[str]], lexicon: Lexicon
) -> bool:
    """Whether all that both have, if anything, is what is done or said, or both are one sentence around two things."""
    left, right = apart
    shared = [word for word in question.content if word not in left]
    if all(_is_said(word, question, stored, lexicon) for word in shared):
        return True
    if one_name(question.said & stored.said, question, stored):
        return True
    whole = _whole_phrases(question, left) and _whole_phrases(stored, right)
    return whole and _frame(question, apart) == _frame(stored, apart)


def _is_said(word: str, question: Reading, stored: Reading, lexicon: Lexicon) -> bool:
    """Whether a word that both have is what is done, or may be a name in lower case."""
    if word in question.grammar.predicates or not lexicon.everyday(word):
        return True
    return word in question.grammar.topics and word in stored.grammar.topics | stored.names


def _whole_phrases(reading: Reading, words: Sequence[str]) -> bool:
    """Whether the words stand together without other words of what they name: `delivery time`, not `time`."""
    named = set(reading.content) - reading.grammar.predicates - set(words)
    return not any(
        (one in words and other in named) or (other in words and one in named)
        for one, other in itertools.pairwise(reading.plain.split())
    )


def _opposed(one: Reading, other: Reading) -> bool:
    left, right = one.singulars - other.singulars, other.singulars - one.singulars
    return any(
        frozenset((a, b)) in _OPPOSITES or _negates(a, b) or _negates(b, a) for a in left for b in right
    )


def _negates(word: str, stem: str) -> bool:
    """`ineligible` and `eligible`, `disconnect` and `connect`."""
    return len(stem) >= _STEM and any(word == prefix + stem for prefix in _NEGATIVE)


def _free_against_paid(one: Reading, other: Reading) -> bool:
    """A threshold for free delivery is not the price of delivery."""
    return "free" in one.words and "free" not in other.words and "money" in other.kinds


def _unmatched(one: Reading, other: Reading) -> Sequence[str]:
    """Content words of `one` that have no form of themselves in `other`, each of which answers for one word."""
    left = list((Counter(one.content) - Counter(other.content)).elements())
    free = list((Counter(other.content) - Counter(one.content)).elements()) + list(other.names)
    found = []
    for word in left:
        same = next((each for each in free if each == word or inflections(each) & inflections(word)), None)
        if same is None:
            found.append(word)
        else:
            free.remove(same)
    return found


def _other_predicate(
    one: Reading, other: Reading, apart: tuple[Sequence[str], Sequence[str]], lexicon: Lexicon
) -> bool:
    """Whether they differ in what is done, said or how often, by words that are no synonyms. Of a single word that
    differs, or two in the same sentence: where more differs, the score tells."""
    most = max(map(len, apart))
    if not min(map(len, apart)) or most > 2 or (most == 2 and _frame(one, apart) != _frame(other, apart)):
        return False
    left, right = apart
    done = [word for word in left if word in one.grammar.predicates]
    done_there = [word for word in right if word in other.grammar.predicates]
    if not done or not done_there:
        return False
    return _strange(done, right, SYNONYMS, lexicon) or _strange(done_there, left, SYNONYMS, lexicon)


def _frame(reading: Reading, apart: tuple[Sequence[str], Sequence[str]]) -> Sequence[str]:
    return [word for word in reading.bare if not any(word in side for side in apart)]


def _other_topic(
    one: Reading, other: Reading, apart: tuple[Sequence[str], Sequence[str]], lexicon: Lexicon
) -> bool:
    """Where neither has a name in capitals, what stands where a name would must have something alike on the other
    side."""
    if _in_capitals(one) or _in_capitals(other) or not one.grammar.topics or not other.grammar.topics:
        return False
    left, right = apart
    mine = [word for word in left if word in one.grammar.topics]
    theirs = [word for word in right if word in other.grammar.topics]
    return _strange(mine, other.content, RELATED, lexicon) or _strange(theirs, one.content, RELATED, lexicon)


def _in_capitals(reading: Reading) -> bool:
    """Whether it has a name that its form tells, other than by an apostrophe."""
    return any(not name.isalpha() or name not in reading.text for name in reading.names)


def _another_thing(
    one: Reading, other: Reading, apart: tuple[Sequence[str], Sequence[str]], lexicon: Lexicon
) -> bool:
    """Whether they have at most their sentence in common, and nothing that one is about is akin to anything that the
    other is about: *visa forms* and *embassy address* belong to one errand, and are two things."""
    left, right = apart
    here, there = one.grammar, other.grammar
    named = not here.heads.isdisjoint(left) and not there.heads.isdisjoint(right)
    if not named or not _on_two_things(one, other, apart, lexicon):
        return False
    mine = (here.heads | here.predicates).intersection(left)
    theirs = (there.heads | there.predicates).intersection(right)
    return not any(_akin(word, word_there, lexicon) for word in mine for word_there in theirs)


def _akin(one: str, other: str, lexicon: Lexicon) -> bool:
    """Whether both may name one kind of thing: by their vectors, by a list, or as two words of one stem."""
    return (
        lexicon.closeness(one, other) >= AKIN
        or (kind_of(one) is not None and kind_of(one) == kind_of(other))
        or not stems(one).isdisjoint(stems(other))
    )


def _strange(words: Collection[str], others: Collection[str], least: float, lexicon: Lexicon) -> bool:
    """Whether one of the words is close to none of the others."""
    return any(all(lexicon.closeness(word, other) < least for other in others) for word in words)
