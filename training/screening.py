"""What may teach the model. Pure: a correction and its neighbours in, a decision with reasons out.

A correction that breaks a rule is kept but quarantined: it is neither memory nor training data until a person
accepts it.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

from adapters.database import as_stored
from training.corrections import TOOL_CALL, as_json
from training.languages import other_language
from training.patterns import MARK, Span, apart, instructs, personal_in, secrets_in, without
from training.types import CorrectionStatus, Feedback, Message, ScreeningPolicy, question_of

LOOKED_AT = 100_000
"""Characters of a conversation in which secrets and personal data are looked for; a longer one waits for a person."""
_DEPTH = 32
"""Levels of JSON, and of JSON in its texts, that are read; what is deeper is text."""
_OPERATORS = frozenset({"system", "developer"})
"""Roles whose words are the tenant's own: who is named there is meant to be."""
OWN_OUTPUT_CHARACTERS = 40
"""From this length on, an answer that equals one of the system's own is its copy, not a coincidence."""


class Reason(StrEnum):
    EMPTY = "empty"
    IDENTICAL = "identical_to_rejected"
    TOO_LONG = "too_long"
    LANGUAGE = "other_language"
    NOT_JSON = "not_json"
    SECRET = "secret"
    PII = "personal_data"
    INSTRUCTION = "instruction_to_the_model"
    OWN_OUTPUT = "own_output"
    CONTRADICTION = "contradiction"
    CONTRIBUTOR_SHARE = "contributor_share"
    CONTRIBUTOR_COUNT = "contributor_count"
    SECRET_REDACTED = "secret_redacted"
    PII_REDACTED = "personal_data_redacted"


SENTENCES: Mapping[str, str] = {
    Reason.EMPTY: "The correction is empty.",
    Reason.IDENTICAL: "The correction says the same as the answer that it corrects.",
    Reason.TOO_LONG: "The correction, or the conversation, is longer than what is taken without a person.",
    Reason.LANGUAGE: "The correction is in another language than the question.",
    Reason.NOT_JSON: "The answer was JSON, the correction is not.",
    Reason.SECRET: "The conversation or the correction holds what looks like a password, a key or a token.",
    Reason.PII: "The conversation or the correction holds what looks like somebody's personal data.",
    Reason.INSTRUCTION: "The correction gives the model instructions instead of an answer.",
    Reason.OWN_OUTPUT: "The correction is an answer that this system gave itself.",
    Reason.CONTRADICTION: "Another correction of the same question says something else.",
    Reason.CONTRIBUTOR_SHARE: "Too large a share of what was accepted would come from one author.",
    Reason.CONTRIBUTOR_COUNT: "This author has as many accepted corrections as one untrusted author may.",
    Reason.SECRET_REDACTED: "What looks like a password, a key or a token was taken out.",
    Reason.PII_REDACTED: "What looks like somebody's personal data was taken out.",
}
"""What the poster is told."""


@dataclass(frozen=True)
class Screening:
    """The decision on one correction."""

    status: CorrectionStatus
    reasons: tuple[str, ...] = ()
    duplicate_of: str | None = None
    """Id of an accepted correction that says the same about the same question."""
    supersedes: tuple[str, ...] = ()
    """Ids of corrections that this one replaces."""
    contests: tuple[str, ...] = ()
    """Ids of accepted corrections of untrusted authors that this one contradicts: they wait, too."""


@dataclass(frozen=True)
class Standing:
    """What one contributor has of the adapter's accepted corrections by untrusted authors."""

    mine: int = 0
    total: int = 0
    authors: int = 1
    """Distinct contributors among them, this one counted whether it has any or not."""


def normalised(text: str) -> str:
    """Text as it is compared: case, spacing and closing punctuation do not count, nor the order of JSON's
    keys."""
    value = as_json(text)
    if value is not None:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    return " ".join(text.casefold().split()).rstrip(" .!?")


def conversation_key(messages: Sequence[Message]) -> str:
    """What makes two questions the same one: everything said but the system's text, normalised."""
    return "\n".join(_spoken(message) for message in messages if message.get("role") != "system")


def question_digest(messages: Sequence[Message]) -> str:
    """SHA-256 of the key of the conversation as it is stored, by which corrections of the same question are looked up.
    It is stored, too: who changes what the key is made of fills the column anew."""
    return hashlib.sha256(conversation_key(as_stored(list(messages))).encode()).hexdigest()


def _spoken(message: Message) -> str:
    content = message.get("content")
    if isinstance(content, list):
        content = " ".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    calls = message.get("tool_calls")
    called = f" {normalised(str(calls))}" if calls else ""
    return f"{message.get('role')}:{normalised(str(content or ''))}{called}"


def redacted(value: Any, rules: ScreeningPolicy) -> tuple[Any, tuple[str, ...]]:
    """A text, or a JSON document of texts, without what the policy takes out; and the reasons. A text that is JSON
    stays JSON."""
    if "redact" not in (rules.secrets, rules.pii):
        return value, ()
    reasons: set[str] = set()

    def clean(part: Any, name: str = "", depth: int = 0, written: bool = False) -> Any:
        """name: of the field that holds the part. written: in a text that is JSON, where numbers are texts, too."""
        if isinstance(part, Mapping) and depth < _DEPTH:
            return {field: clean(each, f"{field}: ", depth + 1, written) for field, each in part.items()}
        if isinstance(part, list | tuple) and depth < _DEPTH:
            return [clean(each, "", depth + 1, written) for each in part]
        if isinstance(part, Mapping | list | tuple):
            text = orjson.dumps(part).decode()
            return part if (left := clean(text, name, depth)) == text else left
        if depth < _DEPTH and (document := as_json(part)) is not None:
            left = clean(document, "", depth + 1, True)
            return part if left == document else orjson.dumps(left).decode()
        if not isinstance(part, str) and (isinstance(part, bool) or not (written and isinstance(part, int))):
            return part
        spans = []
        for start, end, kind in _taken_out(f"{name}{part}", rules):
            if end > len(name):
                spans.append((max(start - len(name), 0), end - len(name), kind))
                reasons.add(Reason.SECRET_REDACTED if kind == "secret" else Reason.PII_REDACTED)
        return without(str(part), spans) if spans else part

    return clean(value), tuple(sorted(reasons))


def _taken_out(text: str, rules: ScreeningPolicy) -> list[Span]:
    secrets = secrets_in(text)
    personal = apart(personal_in(text), secrets) if rules.pii == "redact" else []
    return [*(secrets if rules.secrets == "redact" else ()), *personal]


def held_in(messages: Sequence[Message], rules: ScreeningPolicy, *answers: str) -> list[Reason]:
    """What a conversation and its answers hold that nobody should learn, whoever says it in whatever field. Personal
    data in the tenant's own words to the model are meant to be there."""
    found: set[Reason] = set()
    left = LOOKED_AT
    for part in (*messages, *answers):
        ours = rules.pii == "allow" or (isinstance(part, Mapping) and part.get("role") in _OPERATORS)
        for line in dict.fromkeys(_lines(part)):
            left -= len(line)
            if left < 0:
                return sorted({*found, Reason.TOO_LONG})
            secrets = secrets_in(line)
            if secrets:
                found.add(Reason.SECRET)
            if not ours and apart(personal_in(line), secrets):
                found.add(Reason.PII)
    return sorted(found)


def _lines(value: Any, name: str = "", depth: int = 0) -> Iterator[str]:
    """Each text behind its field's name, which may say what it is; one that is JSON also as it is written."""
    document = value if isinstance(value, Mapping | list | tuple) else as_json(value)
    if document is None or depth >= _DEPTH:
        yield f"{name}{value}"
        return
    if document is not value:
        yield value
    for field, each in (
        document.items() if isinstance(document, Mapping) else (("", each) for each in document)
    ):
        yield from _lines(each, f"{field}: " if field else "", depth + 1)


def screen(
    messages: Sequence[Message],
    rejected: str | None,
    correction: str,
    *,
    trusted: bool,
    same: Sequence[Feedback] = (),
    standing: Standing | None = None,
    own_output: bool = False,
    rules: ScreeningPolicy | None = None,
    own: Sequence[str] | None = None,
) -> Screening:
    """Judge one correction.

    trusted: whether its author may correct what others said (a key with scope `correct`).
    same: the adapter's corrections of this question that are accepted or wait for a person, oldest first.
    standing: of an untrusted author; None for one of whom nothing was accepted where nothing was.
    own_output: whether the system itself once gave this very answer from its weights.
    own: what `own_reasons` has found, where it was asked before.
    """
    rules = rules or ScreeningPolicy()
    live = [entry for entry in same if entry.status is CorrectionStatus.ACCEPTED]
    reasons = list(own_reasons(messages, rejected, correction, rules) if own is None else own)
    if own_output and len(correction) >= OWN_OUTPUT_CHARACTERS:
        reasons.append(Reason.OWN_OUTPUT)
    for entry in live:
        if not reasons and normalised(entry.correction or "") == normalised(correction):
            return Screening(CorrectionStatus.ACCEPTED, duplicate_of=entry.id)
    if trusted:
        if reasons:
            return Screening(CorrectionStatus.QUARANTINED, tuple(reasons))
        disputed = [entry for entry in same if entry in live or Reason.CONTRADICTION in entry.reasons]
        return Screening(CorrectionStatus.ACCEPTED, supersedes=tuple(entry.id for entry in disputed))
    contests = () if reasons else tuple(entry.id for entry in live if not entry.trusted)
    reasons += _contributor_reasons(standing or Standing(), rules)
    if _contradicted(correction, same):
        reasons.append(Reason.CONTRADICTION)
    status = CorrectionStatus.QUARANTINED if reasons else CorrectionStatus.ACCEPTED
    return Screening(status, tuple(reasons), contests=contests)


def _contradicted(correction: str, same: Sequence[Feedback]) -> bool:
    """By what is accepted, or by what waits because end users disagree."""
    said = normalised(correction)
    return any(
        normalised(entry.correction or "") != said
        for entry in same
        if entry.status is CorrectionStatus.ACCEPTED or Reason.CONTRADICTION in entry.reasons
    )


def own_reasons(
    messages: Sequence[Message], rejected: str | None, correction: str, rules: ScreeningPolicy
) -> list[str]:
    """What is wrong with the text alone. Earlier turns are learned with the question, so they must hold nothing,
    either."""
    if _says_nothing(correction):
        return [Reason.EMPTY]
    question = question_of(messages)
    calls = correction.splitlines()  # each call of tools is a line of JSON
    held = held_in(messages, rules, correction, *(calls if len(calls) > 1 else ()))
    checks = (
        (Reason.IDENTICAL, rejected is not None and normalised(rejected) == normalised(correction)),
        (Reason.TOO_LONG, len(correction) > rules.max_characters or Reason.TOO_LONG in held),
        (Reason.LANGUAGE, other_language(question, correction)),
        (Reason.NOT_JSON, as_json(rejected) is not None and not _structured(correction)),
        (Reason.SECRET, Reason.SECRET in held),
        (Reason.PII, Reason.PII in held),
        (Reason.INSTRUCTION, instructs(correction)),
    )
    return [reason for reason, broken in checks if broken]


def _says_nothing(correction: str) -> bool:
    """Nothing can be seen in it; or, of what something was taken out of, no word is left."""
    rest = MARK.sub("", correction)
    if rest != correction:
        return not any(map(str.isalnum, rest))
    return not any(each.isprintable() and not each.isspace() for each in correction)


def _structured(correction: str) -> bool:
    return as_json(correction) is not None or correction.startswith(TOOL_CALL)


def _contributor_reasons(standing: Standing, rules: ScreeningPolicy) -> list[str]:
    """Whether one untrusted author would say too much of what is learned."""
    mine, share = standing.mine, rules.contributor_share * (standing.total + 1)
    found: list[str] = []
    if standing.authors >= rules.contributors and mine and mine + 1 > share:
        found.append(Reason.CONTRIBUTOR_SHARE)
    if mine >= rules.contributor_count:
        found.append(Reason.CONTRIBUTOR_COUNT)
    return found
