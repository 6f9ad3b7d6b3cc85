"""Single words as the encoder's own vocabulary knows them: which are everyday English, and how close two of them are.

The vectors are the encoder's input embeddings: no model runs, a look-up takes microseconds.
"""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

SYNONYMS = 0.6
"""Closeness at least of two words that mean the same. `usually` and `rarely` have 0.49."""

_BEGINNINGS = ("", "un", "re", "non", "dis", "in", "pre", "over", "up", "down")
_ENDINGS = (
    "", "s", "es", "d", "ed", "ing", "er", "ers", "or", "ors", "r", "rs", "ly", "ment", "ments", "able", "ible",
    "ability", "ful", "less", "ness", "ation", "ations", "ion", "ions", "al", "als", "ance", "ity", "y", "ize", "ise",
    "ized", "ised", "izing", "ising",
)  # fmt: skip
_STEM = 3
_EVERYDAY = frozenset(
    """admin autopay backup barcode billing brochure browser calorie charger chatbot checkbox checklist checkout coupon
    debit delete dashboard deductible deposit dropdown dosage downgrade email encrypt endpoint expire export extranet
    faq feedback firewall firmware freelancer giveaway handbook headcount helpdesk hotline inbox instalment
    installment intranet invoice kiosk layover leaflet login logout mailbox malware microwave misplace mortgage
    newsletter nonprofit notification notify offline online onboarding overdraft overdue overtime paperwork parcel
    password payroll paywall payslip pharmacy plugin popup postage postpone prepaid printout proofread quota rebate
    receipt reboot redeem redirect refill refund reimburse reschedule resend reset revoke roadmap router scam
    screenshot shampoo shortcut signup smartphone spam spreadsheet stylist subscribe surcharge throttle timesheet
    timeslot tracking troubleshoot unsubscribe unzip upload upgrade uptime username vegan voicemail voucher waitlist
    warranty webhook webinar website wifi workflow workplace workshop workspace worksheet zip""".split()  # noqa: SIM905
)


class Lexicon:
    """table: the vocabulary's vectors, shape (n, d), none 0. rows: the row of each whole word, lower case."""

    def __init__(self, table: Vectors, rows: Mapping[str, int]) -> None:
        self._table = table
        self._rows = rows

    def closeness(self, one: str, other: str) -> float:
        """Cosine of two words; 0 where one of them is not in the vocabulary."""
        if one not in self._rows or other not in self._rows:
            return 0.0
        left, right = self._table[self._rows[one]], self._table[self._rows[other]]
        return float(left @ right / (np.linalg.norm(left) * np.linalg.norm(right)))

    def everyday(self, word: str) -> bool:
        """Whether it is English that the vocabulary has, as it stands or by its stem, and not likely a name."""
        return all(not part.isalpha() or self._plain(part) for part in word.replace("-", " ").split())

    def _plain(self, word: str) -> bool:
        return word in self._rows or any(stem in self._rows or stem in _EVERYDAY for stem in stems(word))


def whole_words(vocabulary: Mapping[str, int]) -> dict[str, int]:
    """The rows of the words that a tokenizer's vocabulary has in one piece, lower case. Pieces that begin a word are
    marked in some vocabularies, those that continue one in others."""
    marked = {piece[1:]: row for piece, row in vocabulary.items() if piece[:1] in ("▁", "Ġ")}
    return {piece.casefold(): row for piece, row in (marked or vocabulary).items() if piece.isalpha()}


@lru_cache(8192)
def stems(
    word: str, beginnings: tuple[str, ...] = _BEGINNINGS, endings: tuple[str, ...] = _ENDINGS
) -> frozenset[str]:
    """The word and what may be left of it without a beginning and an ending that English adds to words."""
    found = {word}
    for beginning in beginnings:
        for ending in endings:
            if word.startswith(beginning) and word.endswith(ending):
                stem = word[len(beginning) : len(word) - len(ending)]
                if len(stem) >= _STEM:
                    found |= _spellings(stem)
    return frozenset(found)


def inflections(word: str) -> frozenset[str]:
    """What two forms of one word have in common."""
    return stems(word, ("",), ("", "s", "es", "d", "ed", "ing"))


def _spellings(stem: str) -> set[str]:
    """`stat(ing)` is of `state`, `shipp(ing)` of `ship`, `polici(es)` of `policy`."""
    found = {stem, f"{stem}e"}
    if stem.endswith("i"):
        found.add(f"{stem[:-1]}y")
    if stem[-1] == stem[-2]:
        found.add(stem[:-1])
    return found
