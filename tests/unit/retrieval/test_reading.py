from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.reading import answer_kinds, read


def test_a_capitalised_word_inside_a_sentence_is_a_name() -> None:
    assert read("What is the return window at Zorvia Labs?").names == {"zorvia", "labs"}


def test_a_possessive_is_a_name_even_in_lower_case() -> None:
    assert read("what is zorvia's return window").names == {"zorvia"}


def test_a_first_word_before_a_colon_is_a_name() -> None:
    assert read("Delta: what is the mascot?").names == {"delta"}


def test_a_capital_that_only_starts_the_sentence_is_no_name() -> None:
    assert read("Cancel my subscription.").names == frozenset()


def test_text_in_capitals_throughout_has_no_names() -> None:
    assert read("HOW DO I RESET MY PASSWORD PLEASE").names == frozenset()


def test_a_domain_is_a_name() -> None:
    assert read("Which mascot does zorv.io have?").names == {"zorv.io"}


def test_the_plain_view_drops_names_and_the_request_around_the_question() -> None:
    assert read("Can you give me Zorvia's warranty length?").plain == "warranty length"


def test_the_core_view_keeps_content_words_only() -> None:
    assert read("What is the processing time for refunds at Zorvia?").core == "processing time refunds"


def test_numbers_are_read_from_digits_and_words() -> None:
    assert read("Is 2.5 more than seven?").numbers == {"2.5", "7"}


def test_digits_inside_a_word_are_part_of_the_name_not_a_number() -> None:
    question = read("How do I set up 2FA?")
    assert (question.numbers, question.names) == (frozenset(), {"2fa"})


def test_contracted_negation_is_negation() -> None:
    assert read("Why can't I log in?").negated


def test_case_and_politeness_do_not_change_the_wording() -> None:
    assert read("Please tell me the return window of Zorvia.").same_wording(
        read("the return window of zorvia's")
    )


def test_another_name_is_another_wording() -> None:
    assert not read("Zorvia: what is the mascot?").same_wording(read("Delta: what is the mascot?"))


def test_an_amount_of_money_may_answer_a_question_for_a_bound() -> None:
    assert answer_kinds("€45.50") == {"money", "bound"}


@settings(deadline=None)
@given(st.text())
def test_any_text_can_be_read(text: str) -> None:
    assert all(isinstance(view, str) for view in read(text).views)
