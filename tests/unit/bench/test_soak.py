"""What the soak takes for another tenant's answer."""

from tests.bench.soak_load import FACTS, PHRASINGS, questions


def test_no_two_tenants_share_an_answer() -> None:
    asked = questions(tenants=5, seed=1)
    answers = [answer for own in asked.answers for answer in own]
    assert len(set(answers)) == len(answers) == 5 * FACTS
    assert len({text for texts in asked.texts for text in texts}) == FACTS * PHRASINGS


def test_an_answer_names_its_owner_and_nobody_elses() -> None:
    asked = questions(tenants=3, seed=1)
    question = asked.texts[7][0]
    assert [asked.owner(question, f"It is {own[7]} today.") for own in asked.answers] == [0, 1, 2]
    assert asked.owner(question, "I do not know.") is None


def test_a_number_that_happens_to_be_an_answer_to_something_else_is_nobodys() -> None:
    asked = questions(tenants=2, seed=1)
    assert asked.owner(asked.texts[7][0], asked.answers[1][8]) is None
    assert asked.owner(asked.texts[7][0], f"1{asked.answers[1][7]}") is None
