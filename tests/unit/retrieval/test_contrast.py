from collections.abc import Callable

import pytest

from retrieval.contrast import conflict, shares_only_sentence
from retrieval.lexicon import Lexicon
from retrieval.reading import read
from tests.bench.memory_pairs import CONTRASTS

Reason = Callable[..., str | None]


@pytest.fixture
def reason(lexicon: Lexicon) -> Reason:
    def of(question: str, stored: str, answer: str = "yes") -> str | None:
        return conflict(read(question), read(stored), answer, lexicon)

    return of


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
def test_each_rule_names_its_difference(reason: Reason, question: str, stored: str, expected: str) -> None:
    assert reason(question, stored) == expected


def test_the_rules_are_symmetric_for_questions(reason: Reason) -> None:
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
def test_paraphrases_are_not_in_conflict(reason: Reason, question: str, stored: str) -> None:
    assert reason(question, stored) is None


def test_the_stored_answer_tells_the_kind_where_its_question_does_not(reason: Reason) -> None:
    assert reason("What is the shipping time?", "What about shipping?", "€5") == "kind"


def test_all_contrasting_pairs_are_told_apart(reason: Reason) -> None:
    assert [(a, b) for a, b in CONTRASTS if reason(a, b) is None] == []


@pytest.mark.parametrize(
    ("question", "stored", "expected"),
    [
        ("what is the mascot of zorvia?", "what is the mascot of krynnex?", "name"),
        ("what are the fees at green door?", "what are the fees at little harbour?", "topic"),
        ("green door: what are the fees?", "what are the fees of happy harbor?", "topic"),
        ("what are the fees of green harbor?", "what are little harbor's fees?", "topic"),
        ("Do you praise our work?", "Do you criticize our work?", "predicate"),
        ("Who proudly wears the badge?", "Who secretly wears the badge?", "predicate"),
        ("Do you lend old books?", "Which old books do you keep?", "predicate"),
        ("Do you permit work permits?", "Do you ignore work permits?", "predicate"),
    ],
)
def test_single_words_are_held_against_each_other(
    reason: Reason, question: str, stored: str, expected: str
) -> None:
    assert reason(question, stored) == expected


@pytest.mark.parametrize(
    ("question", "stored"),
    [
        ("Do you often ship books?", "Do you frequently ship books?"),
        ("Where can I buy a ticket?", "Where can I purchase a ticket?"),
        ("what is the mascot of zorvia?", "zorvia: what is the mascot?"),
        ("What is the mascot of Zorvia?", "what is zorvia's mascot?"),
        ("What is the return window?", "What is the return period?"),
        ("Do you ship books?", "Are books shipped by you?"),
    ],
)
def test_synonyms_and_forms_of_a_word_are_not_in_conflict(reason: Reason, question: str, stored: str) -> None:
    assert reason(question, stored) is None


@pytest.mark.parametrize(
    ("question", "stored"),
    [
        ("Where do I find the visa forms at Zorvia?", "Where do I find the embassy address at Zorvia?"),
        ("Please explain the visa forms of Zorvia to me.", "What is the embassy address of Zorvia?"),
        ("where do i find the visa forms at zorvia?", "zorvia's embassy address, please"),
        ("what about the guitar lessons at green door?", "where is the sheet music of green door?"),
        ("Does Zorvia have a seating plan?", "Zorvia: wedding venue?"),
        ("who looks after the star maps at green door?", "who looks after the dome repairs at green door?"),
    ],
)
def test_two_things_of_one_errand_are_told_apart(reason: Reason, question: str, stored: str) -> None:
    assert reason(question, stored) == reason(stored, question) == "thing"


@pytest.mark.parametrize(
    ("question", "stored"),
    [
        ("What is the delivery fee at Zorvia?", "Tell me the shipping cost of Zorvia."),
        ("What is Zorvia's delivery time?", "I need to know the shipping delay for Zorvia."),
        ("Who is the founder of Zorvia?", "Who is Zorvia's creator?"),
        ("What is the cancellation fee?", "What do you charge for cancelling?"),
        ("What is the visa form fee?", "What is the visa form price?"),
        ("Is my data encrypted?", "What encryption protects our files?"),
    ],
)
def test_two_nouns_of_one_kind_are_not_two_things(reason: Reason, question: str, stored: str) -> None:
    assert reason(question, stored) is None


@pytest.mark.parametrize(
    ("question", "stored", "expected"),
    [
        ("Has anything changed about gift cards?", "Has anything changed about loyalty points?", True),
        ("I need the gift cards for Zorvia.", "I need the loyalty points for Zorvia.", True),
        ("Our group wants the kiln firing of Zorvia.", "Our group wants the glaze colours of Zorvia.", True),
        (
            "Would Zorvia describe the soot removal again?",
            "Would Zorvia describe the carbon alarm again?",
            True,
        ),
        ("What is the delivery time?", "What is the delivery fee?", False),
        ("I need the gift cards for Zorvia.", "Zorvia: what about loyalty points?", False),
        ("i need the gift cards for zorvia.", "zorvia: what about loyalty points?", True),
        ("I need the gift cards for Zorvia.", "I need the gift cards for Zorvia.", False),
    ],
)
def test_a_sentence_in_common_is_told_from_a_subject_in_common(
    lexicon: Lexicon, question: str, stored: str, expected: bool
) -> None:
    assert shares_only_sentence(read(question), read(stored), lexicon) is expected
