"""What was wrong with an answer, as far as it can be told without knowing the right one. Pure."""

import re

from adapters.rollout import Signal
from gateway.protocol import Outcome

REFUSALS = re.compile(
    r"\s*(?:i(?:['’]m| am) (?:sorry|unable|not able)|sorry,"
    r"|i (?:can(?:['’]t|not| not)|do(?:n['’]t| not) know)|as an ai\b)",
    re.IGNORECASE,
)
"""How English answers begin that give none."""


def flaw_of(status: int, outcome: Outcome) -> str | None:
    """`error`, `empty` or `refusal`; None for an answer without a visible flaw.

    Where only counts are kept of a stream, a refusal is not seen.
    """
    if status >= 500:
        return Signal.ERROR.value
    if status != 200:
        return None
    if not outcome.text.strip():
        tokens = (outcome.usage or {}).get("completion_tokens")
        return Signal.EMPTY.value if tokens is not None and tokens <= 1 else None
    return Signal.REFUSAL.value if REFUSALS.match(outcome.text) else None
