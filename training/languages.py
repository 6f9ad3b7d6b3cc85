"""Which language a text is in, as far as screening needs to know: by script, else by its most common words. Pure."""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping

_WORDS: Mapping[str, str] = {
    "English": "the of and to is in that for it with are you your what how this we our can not",
    "German": "der die das und ist nicht ein eine mit für wir sie ihr zu den wie was kann auf von",
    "French": "le la les et est une des pour vous nous dans que qui avec pas sur votre du au il",
    "Spanish": "el los las y es una para que con por usted su del no cómo qué se puede nuestro un",
    "Italian": "il lo gli e è una per che con non di si può nostro del della sono come cosa un",
    "Portuguese": "o os as e é uma para que com não do da você seu nosso pode são como em um",
    "Dutch": "de het een en is van voor niet met wij u uw kan op dat wat hoe zijn in te",
}
_COMMON = {name: frozenset(words.split()) for name, words in _WORDS.items()}
_NAMED = re.compile(
    r"\b(?:translat\w*|in (?:english|german|french|spanish|italian|portuguese|dutch|russian|chinese|japanese|arabic)"
    r"|auf (?:deutsch|englisch)|en (?:français|español|anglais|inglés)|languages?)\b",
    re.IGNORECASE,
)
_ENOUGH = 3
"""Common words of a language that a text must hold to count as in it."""
_LETTERS = 6


def language_of(text: str) -> str | None:
    """A script other than Latin by its Unicode name, else one of seven languages; None when too little shows."""
    scripts = Counter(unicodedata.name(letter, "?").split()[0] for letter in text if letter.isalpha())
    if not scripts:
        return None
    script, letters = scripts.most_common(1)[0]
    if script != "LATIN":
        return script if letters >= _LETTERS else None
    words = re.findall(r"[^\W\d_]+", text.casefold())
    counts = Counter({name: sum(word in common for word in words) for name, common in _COMMON.items()})
    (best, most), (_, next_most) = counts.most_common(2)
    return best if most >= _ENOUGH and most > next_most else None


def other_language(asked: str, answered: str) -> bool:
    """Whether the answer is in another language than the question, and the question did not ask for one."""
    if _NAMED.search(asked):
        return False
    mine, theirs = language_of(asked), language_of(answered)
    if mine is None or theirs is None:
        return False
    return mine != theirs
