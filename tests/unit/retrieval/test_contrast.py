import pytest

from retrieval.contrast import conflict
from retrieval.reading import read
from tests.bench.memory_pairs import CONTRASTS


def reason(question: str, stored: str, answer: str = "yes") -> str | None:
    return conflict(read(question), read(stored), answer)


@pytest.mark.parametrize(
    ("question", "stored", "expected"),
    [
        ("What is the mascot at Delta?", "What is the mascot at Zorvia?", "name"),
        ("What is the price for 5 users?", "What is the price for 50 users?", "number"),
        ("Which plans do not include support?", "Which plans include support?", "negation"),
        ("What is the price per month?", "What is the annual price?", "unit"),
        ("How do I enable sync?", "How do I disable sync?", "opposite"),
        ("Which plans are eligible?", "Which plans are ineligible?", "opposite"),
        ("Which fares are refundable?", "Which fares are non-refundable?", "opposite"),
        ("Which plans include support?", "Which plans are banned from support?", "negation"),
        ("Do thirty seats cost less?", "Do forty-five seats cost less?", "number"),
        ("What is due in the second week?", "What is due in the third week?", "number"),
        ("What is the delivery fee?", "What is the amount for free delivery?", "free"),
        ("What is the shipping time?", "What is the shipping cost?", "kind"),
    ],
)
def test_each_rule_names_its_difference(question: str, stored: str, expected: str) -> None:
    assert reason(question, stored) == expected


def test_the_rules_are_symmetric_for_questions() -> None:
    assert [reason(a, b) is None for a, b in CONTRASTS] == [reason(b, a) is None for a, b in CONTRASTS]


@pytest.mark.parametrize(
    ("question", "stored"),
    [
        ("What is the return period at Zorvia?", "Zorvia: what is the time limit for returns?"),
        ("zorvia's support email please", "What is the email address of support at Zorvia?"),
        ("How long is the free trial?", "What is the trial length?"),
        ("How do I reset my password?", "I forgot my password, how can I get a new one?"),
    ],
)
def test_paraphrases_are_not_in_conflict(question: str, stored: str) -> None:
    assert reason(question, stored) is None


def test_the_stored_answer_tells_the_kind_where_its_question_does_not() -> None:
    assert reason("What is the shipping time?", "What about shipping?", "€5") == "kind"


def test_nearly_all_contrasting_pairs_are_told_apart() -> None:
    assert sum(reason(a, b) is not None for a, b in CONTRASTS) >= 39
