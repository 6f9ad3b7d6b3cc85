"""Reasons why two questions cannot have the same answer, however close their vectors are.

Sentence encoders place `monthly` beside `yearly` and `enable` beside `disable`: opposites share their
contexts. Each rule here is one such difference, general to English; docs/memory.md says what they cost.
"""

from retrieval.reading import Reading, answer_kinds

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


def conflict(question: Reading, stored: Reading, answer: str) -> str | None:
    """Why the stored question's answer cannot answer this question; None when nothing stands against it.

    answer: the stored one. Where the stored question does not tell what kind of thing it asks for, that may.
    """
    if not (question.names <= stored.words and stored.names <= question.words):
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
    return None


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
