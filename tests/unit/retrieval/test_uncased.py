"""Questions all in lower case: names by what they share and how they differ."""

from collections.abc import Callable

import pytest

from retrieval.contrast import conflict
from retrieval.lexicon import Lexicon
from retrieval.reading import read

Reason = Callable[[str, str], str | None]


@pytest.fixture
def reason(lexicon: Lexicon) -> Reason:
    def of(question: str, stored: str) -> str | None:
        return conflict(read(question, lexicon), read(stored, lexicon), "yes", lexicon)

    return of


def test_a_word_that_is_no_english_is_a_name_where_nothing_is_in_capitals(lexicon: Lexicon) -> None:
    assert read("what does fintaro charge for delivery?", lexicon).names == {"fintaro"}
    assert read("what does fintaro charge for delivery?", lexicon).core == "charge delivery"
    assert read("What does fintaro charge for delivery?", lexicon).names == frozenset()


def test_another_thing_of_one_company_is_told_apart(reason: Reason) -> None:
    one = "a colleague mentioned silver fox and its star maps."
    assert reason(one, "my sister asked silver fox for the telescope hire.") == "thing"
    assert reason(one, "my sister asked silver fox for the star maps.") is None


@pytest.mark.parametrize(
    ("question", "stored"),
    [
        ("what of the oven repairs at bright pepper?", "my sister asked proud pepper for the oven repairs."),
        ("who looks into the oven repairs for fintaro motors?", "what of the oven repairs at fintaro?"),
    ],
)
def test_names_with_a_word_in_common_are_two(reason: Reason, question: str, stored: str) -> None:
    assert reason(question, stored) == reason(stored, question) == "name"


@pytest.mark.parametrize(
    ("question", "stored"),
    [
        ("tell me more about the oven repairs that fintaro offers.", "what of the oven repairs at fintaro?"),
        ("my sister asked proud pepper for the oven repairs.", "what of the oven repairs at proud pepper?"),
    ],
)
def test_one_name_in_another_sentence_stays_one(reason: Reason, question: str, stored: str) -> None:
    assert reason(question, stored) is None
