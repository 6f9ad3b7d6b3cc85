"""What the soak takes for another tenant's answer."""

from tests.bench.soak_load import FACTS, PHRASINGS, questions


def test_no_two_tenants_share_an_answer() -> None:
    asked = questions(tenants=5, seed=1)
    answers = [answer for own in asked.answers for answer in own]
    assert len(set(answers)) == len(answers) == 5 * FACTS
    assert len({text for texts in asked.texts for text in texts}) == FACTS * PHRASINGS


def test_an_answer_names_its_owner_and_nobody_elses() -> None:
    asked = questions(tenants=3, seed=1)
    assert [asked.owner(f"It is {own[7]}.") for own in asked.answers] == [0, 1, 2]
    assert asked.owner("I do not know.") is None


def test_a_number_that_happens_to_be_anothers_is_nobodys_answer() -> None:
    asked = questions(tenants=2, seed=1)
    number, word = asked.answers[0][0].split()
    assert len({*asked.words}) == 2
    assert asked.owner(number) is None
    assert asked.owner(f"1{word}") == 0
