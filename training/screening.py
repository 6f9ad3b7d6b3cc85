"""What may teach the model. Pure: a correction and its neighbours in, a decision with reasons out.

A correction that breaks a rule is kept but quarantined: it is neither memory nor training data until a person
accepts it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from training.types import CorrectionStatus, Feedback, Message

MAX_CHARACTERS = 8000
"""Longest correction that is taken without a person; longer ones do not fit the shipped model's context."""


class Reason(StrEnum):
    EMPTY = "empty"
    IDENTICAL = "identical_to_rejected"
    TOO_LONG = "too_long"
    SECRET = "secret"
    INSTRUCTION = "instruction_to_the_model"
    CONTRADICTION = "contradiction"


@dataclass(frozen=True)
class Screening:
    """The decision on one correction."""

    status: CorrectionStatus
    reasons: tuple[str, ...] = ()
    duplicate_of: str | None = None
    """Id of an accepted correction that says the same about the same question."""
    supersedes: tuple[str, ...] = ()
    """Ids of accepted corrections that this one replaces."""


_SECRETS = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|\bAKIA[0-9A-Z]{16}\b"
    r"|\bgh[pousr]_[A-Za-z0-9]{30,}"
    r"|\bxox[abprs]-[A-Za-z0-9-]{10,}"
    r"|\b(?:sk|rk|pk)[-_](?:live|test|proj|ant)[-_A-Za-z0-9]{12,}"
    r"|\bsk-[A-Za-z0-9]{20,}"
    r"|\bgk-[A-Za-z0-9]+-[A-Za-z0-9_-]{16,}"
    r"|\bey[A-Za-z0-9_-]{10,}\.ey[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"
    r"|(?i:\b(?:password|passwd|api[_ -]?key|secret[_ -]?key|access[_ -]?token)\s*[:=]\s*\S{8,})"
)
_INSTRUCTIONS = re.compile(
    r"\b(?:ignore|disregard|forget|override)\b.{0,30}\b(?:previous|prior|above|earlier|all)\b.{0,30}"
    r"\b(?:instruction|prompt|rule|message|guideline|context)s?"
    r"|\b(?:reveal|print|repeat|show)\b.{0,20}\b(?:system|hidden|initial) prompt"
    r"|\byou are now\b.{0,40}\b(?:mode|unrestricted|jailbroken|dan)\b"
    r"|<\|[a-z_]+\|>|\[/?INST\]|<<SYS>>",
    re.IGNORECASE | re.DOTALL,
)


def normalised(text: str) -> str:
    """Text as it is compared: case, spacing and closing punctuation do not count."""
    return " ".join(text.casefold().split()).rstrip(" .!?")


def conversation_key(messages: Sequence[Message]) -> str:
    """What makes two questions the same one: everything said but the system's text, normalised."""
    return "\n".join(_spoken(message) for message in messages if message.get("role") != "system")


def _spoken(message: Message) -> str:
    content = message.get("content")
    if isinstance(content, list):
        content = " ".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    return f"{message.get('role')}:{normalised(str(content or ''))}"


def screen(
    messages: Sequence[Message],
    rejected: str | None,
    correction: str,
    *,
    trusted: bool,
    accepted: Sequence[Feedback] = (),
) -> Screening:
    """Judge one correction.

    trusted: whether its author may correct what others said (a key with scope `correct`).
    accepted: the tenant's accepted corrections of the same adapter that could clash with this one.
    """
    reasons = _own_reasons(rejected, correction)
    if reasons:
        return Screening(CorrectionStatus.QUARANTINED, reasons)
    key = conversation_key(messages)
    same = [entry for entry in accepted if conversation_key(entry.messages) == key]
    for entry in same:
        if normalised(entry.correction or "") == normalised(correction):
            return Screening(CorrectionStatus.ACCEPTED, duplicate_of=entry.id)
    if same and not trusted:
        return Screening(CorrectionStatus.QUARANTINED, (Reason.CONTRADICTION,))
    return Screening(CorrectionStatus.ACCEPTED, supersedes=tuple(entry.id for entry in same))


def _own_reasons(rejected: str | None, correction: str) -> tuple[str, ...]:
    """What is wrong with the text alone."""
    if not correction.strip():
        return (Reason.EMPTY,)
    found: list[str] = []
    if rejected is not None and normalised(rejected) == normalised(correction):
        found.append(Reason.IDENTICAL)
    if len(correction) > MAX_CHARACTERS:
        found.append(Reason.TOO_LONG)
    if _SECRETS.search(correction):
        found.append(Reason.SECRET)
    if _INSTRUCTIONS.search(correction):
        found.append(Reason.INSTRUCTION)
    return tuple(found)
