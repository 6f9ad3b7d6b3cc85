"""A question as memory reads it: names, numbers, negation, what kind of thing it asks for, and bare wording.

English word classes only: function words, request openers, units, kinds of answer; no domain's vocabulary.
"""

import re
from dataclasses import dataclass
from functools import cached_property

from retrieval.clause import Grammar, parse
from retrieval.lexicon import Lexicon

_WORD = re.compile(r"[^\W_]+(?:[.'’&-][^\W_]+)*")
_POSSESSIVE = re.compile(r"['’]s$")
_NEGATION = re.compile(
    r"\b(?:not|no|never|without|cannot|none|nor|neither|hardly|seldom|except|excluding|exempt|unable|lack(?:s|ing)?"
    r"|refuse[sd]?|forbidden|prohibited|banned)\b|n['’]t\b",
    re.IGNORECASE,
)
_OPENER = re.compile(
    r"^(?:(?:hi|hello|hey|please|thanks)[,!]?\s+|i need help:\s*|i (?:need|want|would like) to know\s+"
    r"|(?:can|could|would) you (?:please )?(?:give|tell) me\s+|(?:tell me|look up|give me)\s+"
    r"|do you know\s+|i am asking about\s+)+",
    re.IGNORECASE,
)
_ASKS = re.compile(r"\b(?:who|whom|whose|when|where|why|how (?:much|many|long|often|far))\b", re.IGNORECASE)
_FUNCTION_WORDS = frozenset(
    """a an the this that these those some any all each i me my mine we us our ours you your yours he him his
    she her it its they them their theirs somebody someone anybody something anything everything one is
    are am was were be been being do does did done have has had having will would shall should can could
    may might must of at in on for from to with by about as into and or but if then than so there here
    what which who whom whose where when why how please hi hello hey thanks thank tell give get know need
    want ask asking look looking like out up let say help find regarding concerning""".split()  # noqa: SIM905
)
_NUMBER_WORDS = {
    word: str(value)
    for value, word in enumerate(
        "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "  # noqa: SIM905
        "sixteen seventeen eighteen nineteen twenty".split(),
        start=2,
    )
} | {
    word: f"{value}0"
    for value, word in enumerate("thirty forty fifty sixty seventy eighty ninety hundred".split(), start=3)  # noqa: SIM905
}
_NUMBER_WORDS |= {"dozen": "12", "thousand": "1000", "million": "1000000"}
_NUMBER_WORDS |= {
    word: f"{value}th"
    for value, word in enumerate(
        "second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth "  # noqa: SIM905
        "fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth".split(),
        start=2,
    )
}
_UNITS = {
    word: unit
    for unit, words in {
        "week": "week weeks weekly",
        "month": "month months monthly",
        "quarter": "quarter quarters quarterly",
        "year": "year years yearly annual annually",
    }.items()
    for word in words.split()
}
_KINDS = {
    word: kind
    for kind, words in {
        "money": "price prices cost costs fee fees charge charges pricing tariff expensive",
        "time": "long time duration delay deadline period wait hours schedule soon",
        "bound": "minimum maximum limit threshold largest smallest highest lowest",
        "email": "email emails mail e-mail",
        "phone": "phone telephone hotline",
        "currency": "currency currencies",
        "share": "discount percentage percent reduction",
        "place": "location located country city region headquarters",
        "person": "who whom whose",
    }.items()
    for word in words.split()
}
_ANSWER_KINDS = (
    (re.compile(r"[€$£¥]\s?\d|\d\s?(?:€|usd\b|eur\b|gbp\b|dollars?\b|euros?\b)", re.IGNORECASE), "money"),
    (re.compile(r"\d (?:(?:business|working) )?(?:minute|hour|day|week|month)s?\b", re.IGNORECASE), "time"),
    (re.compile(r"\S@\S+\.\w"), "email"),
    (re.compile(r"\d\s?(?:%|percent\b)", re.IGNORECASE), "share"),
)  # fmt: skip


VIEWS_OF = 2
"""Raise it when the views of a question change: vectors that were stored before are made anew."""
_ARTICLES = frozenset(("a", "an", "the"))
_PARTICLES = frozenset(("off", "down", "away", "back", "over", "through"))


@dataclass(frozen=True)
class Reading:
    """What is compared when two questions are held against each other, apart from their vectors.

    bare: all words but the request around the question and articles.
    """

    text: str
    words: frozenset[str]
    names: frozenset[str]
    plain: str
    core: str
    bare: tuple[str, ...]

    @cached_property
    def content(self) -> tuple[str, ...]:
        """Content words other than names, in order. Empty where there are none, while core is not."""
        found = (word for word in self.bare if word not in self.names)
        return tuple(word for word in found if word not in _FUNCTION_WORDS | _PARTICLES)

    @cached_property
    def said(self) -> frozenset[str]:
        """Content words and names."""
        return frozenset(self.content) | self.names

    @cached_property
    def grammar(self) -> Grammar:
        return parse(_OPENER.sub("", self.text))

    @cached_property
    def numbers(self) -> frozenset[str]:
        digits = re.findall(r"(?<![\w.])\d+(?:[.,]\d+)*(?!\w)", self.text)
        parts = {part for word in self.words for part in word.split("-")}
        return frozenset(digits) | {_NUMBER_WORDS[part] for part in parts if part in _NUMBER_WORDS}

    @cached_property
    def negated(self) -> bool:
        return _NEGATION.search(self.text) is not None

    @cached_property
    def units(self) -> frozenset[str]:
        return frozenset(_UNITS[word] for word in self.words if word in _UNITS)

    @cached_property
    def kinds(self) -> frozenset[str]:
        """Kinds of answer that the question's words ask for; empty when they do not tell."""
        return frozenset(_KINDS[word] for word in self.words if word in _KINDS)

    @cached_property
    def singulars(self) -> frozenset[str]:
        return frozenset(_singular(word) for word in self.words)

    @property
    def views(self) -> tuple[str, str, str]:
        """The texts whose vectors are compared: as asked, without names and openers, content words only."""
        return (self.text, self.plain, self.core)

    @cached_property
    def asks(self) -> frozenset[str]:
        """The question words that change what is asked even where all content words are the same."""
        return frozenset(match.casefold() for match in _ASKS.findall(self.text))

    def same_content(self, other: "Reading") -> bool:
        """Whether both are made of the same content words, names and question words, in whatever sentence."""
        return (
            self.core == other.core
            and self.names == other.names
            and self.numbers == other.numbers
            and self.asks == other.asks
        )

    def same_wording(self, other: "Reading") -> bool:
        """Whether both are one question but for case, punctuation, articles and politeness."""
        return self.bare == other.bare and self.numbers == other.numbers


def read(question: str, lexicon: Lexicon | None = None) -> Reading:
    """Total: any text can be read, an empty one too. lexicon: tells names where nothing is in capitals."""
    text = " ".join(question.split())
    names = _names(text)
    words = frozenset(_base(match.group()) for match in _WORD.finditer(text))
    if lexicon is not None and text.islower():
        names |= {word for word in words if not lexicon.everyday(word)}
    bare = [_base(match.group()) for match in _WORD.finditer(_OPENER.sub("", text))]
    plain = [word for word in bare if word not in names]
    core = [word for word in plain if word not in _FUNCTION_WORDS]
    said = " ".join(plain) or text
    named = tuple(word for word in bare if word not in _ARTICLES)
    return Reading(text, words, names, said, " ".join(core) or said, named)


def kind_of(word: str) -> str | None:
    """The kind of answer that the word asks for, where it is on a list."""
    return _KINDS.get(word)


def answer_kinds(answer: str) -> frozenset[str]:
    """The kind of thing an answer is, where its form shows it; an amount of money may also be a bound."""
    kinds = {kind for pattern, kind in _ANSWER_KINDS if pattern.search(answer)}
    return frozenset(kinds | {"bound"} if "money" in kinds else kinds)


def _base(word: str) -> str:
    return _POSSESSIVE.sub("", word).casefold()


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _names(text: str) -> frozenset[str]:
    """Words that surely name something: capitalised inside a sentence, possessive, or of letters and digits.

    A capital at the start of a sentence proves nothing, unless what follows shows that it belongs to a name.
    Text written in capitals throughout tells nothing either.
    """
    matches = list(_WORD.finditer(text))
    capitals = [match.group()[:1].isupper() for match in matches]
    trust_case = sum(capitals) <= max(3, 0.7 * len(matches))
    found = {
        _base(match.group())
        for match, next_is_capital in zip(matches, [*capitals[1:], False], strict=False)
        if _is_name(text, match, next_is_capital, trust_case)
    }
    return frozenset(found - _FUNCTION_WORDS)


def _is_name(text: str, match: re.Match[str], next_is_capital: bool, trust_case: bool) -> bool:
    word = match.group()
    base = _POSSESSIVE.sub("", word)
    if base != word and base.casefold() not in (
        "it",
        "that",
        "what",
        "who",
        "here",
        "there",
        "let",
        "how",
        "where",
    ):
        return True
    if "." in base or (any(map(str.isdigit, base)) and any(map(str.isalpha, base))):
        return True
    if not trust_case or not base[:1].isupper() or base == "I":
        return False
    starts_sentence = match.start() == 0 or text[: match.start()].rstrip()[-1:] in ".!?"
    if not starts_sentence:
        return True
    followed_by = text[match.end() : match.end() + 1]
    return next_is_capital or followed_by in tuple(":,") or (base.isupper() and len(base) > 1)
