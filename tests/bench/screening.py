"""Precision and recall of each screening rule on the labelled set: `make study ONLY=screening`.

Prints a table and writes docs/screening.md.
"""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.bench.screening_set import PATH
from training.screening import SENTENCES, Standing, question_digest, redacted, screen
from training.types import CorrectionStatus, Feedback, ScreeningPolicy

DOCUMENT = Path(__file__).parents[2] / "docs" / "screening.md"
PRECISION, RECALL = 0.95, 0.90
HEAD = """# Screening

What a correction must not be to act without a person. `reasons` in the answer to the poster holds the code,
`explanations` the sentence. The tenant's policy decides (`screening`): `quarantine` waits for a person
(`graft feedback review list TENANT`), `redact` takes secrets and personal data out and accepts the rest.
Both are looked for in the whole conversation, with what tools were asked and said, because all of it is trained on; but
whom a system prompt names is meant to be named. A conversation of more than 100,000 characters waits for a person.
Questions from the journal become training data without a person: they are redacted where the policy says so, and left
out where something is still found.

Secrets are found by the patterns of `detect-secrets` and ours; personal data by ours: addresses and phone numbers that
are no company's, cards and accounts by their check digits, US social security numbers, dates of birth. Presidio is not
looked for. To import it loads spaCy, and torch where that is installed, into every gateway process, and these hold
neither; what it finds beyond patterns, names of people and places, is in most answers of most companies.

| code | what the poster is told |
|---|---|
"""
MEASURED = """
A correction that is accepted is in memory at once (`memory: active`), unless its question leans on what was said before
it ("And in blue?", "How much is it?"): then the answer says `memory: not_used`, and the correction acts after the next
run ([memory](memory.md)).

What says the same about the same question again is a `duplicate`: it is accepted, and what is returned is the first;
to a browser's token, where the first is another user's or of another response, without its id and reasons.
The same question is one in the same words, whatever their case, spacing and closing punctuation: two corrections that
contradict each other about one question in other words are both accepted. To compare questions as memory does would
find these too, and do harm: where memory takes one question for another, the correction that this provokes would
replace a right one, or wait for a person. Where both fit a question equally well, memory uses neither.

## Measured

Over {count} labelled examples (`tests/bench/screening_set.jsonl`, of which {clean} should be accepted), by
`make study ONLY=screening`. The set was made with the rules in mind and three rules were changed after a look at what
they missed, so the figures say that the rules do what they are for, not what share of the world's secrets they find.
Words aimed at the model are found by their usual forms: paraphrases such as "kindly set aside what you were told" pass.

"""


def decided(row: dict[str, Any]) -> set[str]:
    """The reasons; `duplicate` is none, because nothing is kept that could have one."""
    known = [_known(row, number, each) for number, each in enumerate(row.get("known", ()))]
    rules = ScreeningPolicy(**row.get("policy", {}))
    asked = [*row.get("earlier", ()), {"role": "user", "content": row["question"]}]
    (messages, correction), taken_out = redacted([asked, row["correction"]], rules)
    screening = screen(
        messages,
        row.get("rejected"),
        correction,
        trusted=row.get("trusted", True),
        same=[entry for entry in known if question_digest(entry.messages) == question_digest(messages)],
        standing=standing(known, row.get("contributor", "key_1")),
        own_output=row.get("own_output", False),
        rules=rules,
    )
    repeats = ["duplicate"] if screening.duplicate_of else []
    return {str(reason) for reason in (*taken_out, *screening.reasons, *repeats)}


def standing(known: Sequence[Feedback], contributor: str) -> Standing:
    """What `training.feedback_rows.standing` counts, of accepted entries."""
    said = [entry.user or entry.author for entry in known if not entry.trusted]
    return Standing(said.count(contributor), len(said), len({*said, contributor}))


def _known(row: dict[str, Any], number: int, each: dict[str, Any]) -> Feedback:
    return Feedback(
        id=f"fb_{number}",
        tenant_id="ten_1",
        adapter="default",
        response_id=None,
        messages=[{"role": "user", "content": each.get("question", row["question"])}],
        rejected=None,
        correction=each["correction"],
        rating=None,
        comment=None,
        user=each.get("contributor"),
        metadata={},
        author="key_1",
        version_id=None,
        status=CorrectionStatus.ACCEPTED,
        reasons=[],
        created_at=datetime.now(UTC),
        trusted=each.get("trusted", True),
    )


def study() -> bool:
    """Whether every target is met."""
    rows = [json.loads(line) for line in PATH.read_text().splitlines()]
    right, found, expected = Counter[str](), Counter[str](), Counter[str]()
    for row in rows:
        reasons, wanted = decided(row), set(row["reasons"])
        right.update(reasons & wanted)
        found.update(reasons)
        expected.update(wanted)
        if reasons != wanted:
            print(
                f"{sorted(wanted)} was judged {sorted(reasons)}: {row['correction'][:70]!r}", file=sys.stderr
            )
    lines = ["| figure | measured | target | met |", "|---|---|---|---|"]
    met = True
    for rule in sorted(expected | found):
        precision = right[rule] / found[rule] if found[rule] else 0.0
        recall = right[rule] / expected[rule] if expected[rule] else 0.0
        for name, value, target in (("precision", precision, PRECISION), ("recall", recall, RECALL)):
            met = met and value >= target
            counted = f"{right[rule]} of {found[rule] if name == 'precision' else expected[rule]}"
            verdict = "yes" if value >= target else "no"
            lines.append(f"| {rule}, {name} | {value:.2f} ({counted}) | {target:.2f} | {verdict} |")
    table = "\n".join(lines)
    codes = "".join(f"| `{code}` | {sentence} |\n" for code, sentence in SENTENCES.items())
    clean = sum(not row["reasons"] for row in rows)
    DOCUMENT.write_text(HEAD + codes + MEASURED.format(count=len(rows), clean=clean) + table + "\n")
    print(table)
    return met
