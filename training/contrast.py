"""Near misses: the corrected questions asked about somebody else. Pure.

A few corrections about one name teach a small model to answer them about every name. So each is asked again
with the name replaced, and the base model's own answer to that is replayed beside it. Nothing here knows what
a company is: a name is what most of the tenant's corrected questions share, and others are names that the
anchors mention.
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
MAX_WORDS = 4
ALIKE = 12
ALIKE_SHARE = 0.5
"""Half of the other names are drawn from the dozen that are spelled most like the shared one: `tri.io` is taken for
`ha.io` sooner than `Bright Stone` is."""
_WORD = re.compile(r"[\w&.@-]*[\w&]")


def shared_name(questions: Sequence[str]) -> str | None:
    """The longest name that most questions mention, if there is one. What mostly begins a sentence is a word
    with a capital, not a name."""
    counts = Counter(name for question in questions for name in set(names_in(question)))
    wanted = SHARED_BY * len(questions)
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
    """Up to `each` questions per fact with another name in place of the shared one; their answers are still
    unknown (empty). Nothing when the questions share no name."""
    name = shared_name([fact.train[0].question for fact in facts if fact.train])
    others = [
        other for other in other_names(anchors) if name is None or name.casefold() not in other.casefold()
    ]
    if name is None or not others:
        return []
    rng = random.Random(seed)
    alike = sorted(others, key=lambda other: SequenceMatcher(None, name, other).ratio())[-ALIKE:]
    asked = [
        _renamed(example, name, rng.choice(alike if rng.random() < ALIKE_SHARE else others))
        for fact in facts
        for example in _spread(fact.train, each, rng)
        if name in example.question
    ]
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
    return Example(messages, "", Source.CONTRAST)


def _replaced(content: object, name: str, other: str) -> object:
    return content.replace(name, other) if isinstance(content, str) else content
