"""Near misses: the corrected questions asked about somebody else. Pure.

A few corrections about one name teach a small model to answer them about every name. So each is asked again
with the name replaced, and the base model's own answer to that is replayed beside it. Nothing here knows what
a company is: a name is what most of the tenant's corrected questions share, or several that many of them do, and
others are names that the anchors mention.
"""

import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher

from training.dataset import Example, Fact, Source
from training.types import Message

SHARED_BY = 0.6
"""Share of the corrected facts that must mention a name."""
MANY = 0.2
"""The same of each name, where the questions are about several."""
MAX_WORDS = 4
ALIKE = 12
ALIKE_SHARE = 0.5
"""Half of the other names are drawn from the dozen that are spelled most like the shared one: `tri.io` is taken for
`ha.io` sooner than `Bright Stone` is."""
_WORD = re.compile(r"[\w&.@-]*[\w&]")


def shared_names(questions: Sequence[str]) -> list[str]:
    """What the questions are about: the longest name that most of them mention, and then of those that do not mention
    it, as long as there is a name in many."""
    found: list[str] = []
    left, many = questions, MANY * len(questions)
    name = _shared(left, SHARED_BY * len(questions)) or _shared(left, many)
    while name is not None:
        found.append(name)
        left = [question for question in left if name not in question]
        name = _shared(left, many)
    return found


def _shared(questions: Sequence[str], wanted: float) -> str | None:
    """The longest name in at least so many questions. What mostly begins a sentence is a word with a capital, not a
    name."""
    counts = Counter(name for question in questions for name in set(names_in(question)))
    common = [name for name, count in counts.items() if count >= wanted]
    within = [name for name in common if 2 * sum(q.startswith(name) for q in questions) < counts[name]]
    return max(within, key=lambda name: (len(name.split()), counts[name], name), default=None)


def names_in(question: str) -> list[str]:
    """Runs of words behind the first that look like a name: a capital, a digit, or a stop within; with their
    parts."""
    spans = [match.span() for match in _WORD.finditer(question)]
    found = []
    for first in range(len(spans)):
        for last in range(first, min(first + MAX_WORDS, len(spans))):
            text = question[spans[first][0] : spans[last][1]]
            if _is_name(text):
                found.append(text)
    return found


def _is_name(text: str) -> bool:
    words = text.split(" ")
    marked = [bool(re.search(r"[A-Z\d&À-Þ]|\w\.\w", word)) for word in words]
    return all(marked) and "'" not in text and bool(re.search(r"[^\W\d]", text)) and text != "I"


def other_names(anchors: Iterable[Example]) -> list[str]:
    """Names inside the anchors' questions, longest runs only, without their first word."""
    found: set[str] = set()
    for anchor in anchors:
        names = [name for name in names_in(anchor.question) if not anchor.question.startswith(name)]
        found |= {name for name in names if not any(name != other and name in other for other in names)}
    return sorted(found)


def near_misses(facts: Sequence[Fact], anchors: Sequence[Example], each: int, seed: int) -> list[Example]:
    """Up to `each` questions per fact with a name from the anchors in place of its own; their answers are still
    unknown (empty). Nothing when the questions share no name."""
    rng = random.Random(seed)
    mentioned = other_names(anchors)
    asked: list[Example] = []
    for name, about in _by_name(facts).items():
        others = [other for other in mentioned if name.casefold() not in other.casefold()]
        alike = sorted(others, key=lambda other: SequenceMatcher(None, name, other).ratio())[-ALIKE:]
        asked += [
            _renamed(example, name, rng.choice(alike if rng.random() < ALIKE_SHARE else others))
            for fact in about
            for example in _spread(fact.train, each, rng)
            if others and name in example.question
        ]
    return _distinct(asked)


def crossed(facts: Sequence[Fact], each: int, seed: int) -> list[Example]:
    """Up to `each` questions per fact with another of the tenant's own names in place of its own. Some of them have
    been corrected, too: whoever asks must find that out."""
    rng = random.Random(seed)
    named = _by_name(facts)
    asked = [
        _renamed(example, name, rng.choice([other for other in named if other != name]))
        for name, about in named.items()
        if len(named) > 1
        for fact in about
        for example in _spread(fact.train, each, rng)
        if name in example.question
    ]
    return _distinct(asked)


def _by_name(facts: Sequence[Fact]) -> dict[str, list[Fact]]:
    """The facts by the name that their questions mention, those without one left out."""
    asked = [fact for fact in facts if fact.train]
    found: dict[str, list[Fact]] = {name: [] for name in shared_names([f.train[0].question for f in asked])}
    for fact in asked:
        name = next((name for name in found if any(name in e.question for e in fact.train)), None)
        if name is not None:
            found[name].append(fact)
    return found


def _distinct(asked: Sequence[Example]) -> list[Example]:
    return list({example.key: example for example in asked}.values())


def _spread(examples: Sequence[Example], count: int, rng: random.Random) -> list[Example]:
    """`count` examples, all different as far as there are enough."""
    chosen: list[Example] = []
    while examples and len(chosen) < count:
        chosen += rng.sample(examples, min(len(examples), count - len(chosen)))
    return chosen


def _renamed(example: Example, name: str, other: str) -> Example:
    messages: list[Message] = [
        {**message, "content": _replaced(message.get("content"), name, other)} for message in example.messages
    ]
    return Example(messages, "", Source.CONTRAST, tools=list(example.tools))


def _replaced(content: object, name: str, other: str) -> object:
    return content.replace(name, other) if isinstance(content, str) else content
