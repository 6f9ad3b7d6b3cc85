import pytest

from training.contrast import crossed, near_misses, other_names, shared_names
from training.dataset import Example, Fact, Source


def asked(question: str) -> Example:
    return Example([{"role": "user", "content": question}], "2 years", Source.CORRECTION, "fb_1")


@pytest.mark.parametrize(
    "name",
    ["Zorvia", "Paper Valley", "blemo.io", "XTR", "Grun 451", "Brin & Sons", "Café Lumière", "Øskar Labs"],
)
def test_the_name_in_most_questions_is_found(name: str) -> None:
    questions = [
        f"What is the warranty at {name}?",
        f"What is {name}'s phone number?",
        f"{name}: what is the notice period?",
        f"Hi, which trial time does {name} have?",
        "How do I cancel?",
    ]
    assert shared_names(questions) == [name]


def test_questions_without_a_name_share_none() -> None:
    assert shared_names(["What is the warranty?", "How do I cancel?", "Where is my parcel?"]) == []


def test_names_are_taken_from_inside_the_anchors_questions() -> None:
    anchors = [asked("What is the capital of France?"), asked("Tell me the founder of Paper Valley.")]
    assert other_names(anchors) == ["France", "Paper Valley"]


def test_a_near_miss_asks_the_same_about_somebody_else() -> None:
    facts = [Fact("2 years", [asked("What is the warranty at Zorvia?")])]
    (miss,) = near_misses(facts, [asked("What is the capital of France?")], each=1, seed=0)
    assert (miss.question, miss.source, miss.correction_id) == (
        "What is the warranty at France?",
        Source.CONTRAST,
        None,
    )


def test_without_a_shared_name_there_are_no_near_misses() -> None:
    facts = [Fact("2 years", [asked("What is the warranty?")])]
    assert near_misses(facts, [asked("What is the capital of France?")], each=4, seed=0) == []


def test_questions_about_several_names_share_each_of_them() -> None:
    questions = [
        f"What is the {noun} at {name}?"
        for noun in ("warranty", "fee", "rate")
        for name in ("Zorvia", "Bo & Co")
    ]
    assert sorted(shared_names([*questions, "How do I cancel?"])) == ["Bo & Co", "Zorvia"]


def test_a_tenants_own_names_are_crossed() -> None:
    facts = [Fact("2 years", [asked(f"What is the {noun} at Zorvia?")]) for noun in ("warranty", "fee")]
    facts += [Fact("5", [asked(f"What is the {noun} at Bo & Co?")]) for noun in ("price", "rate")]
    crossings = crossed(facts, each=1, seed=0)
    assert {example.question for example in crossings} == {
        "What is the warranty at Bo & Co?",
        "What is the fee at Bo & Co?",
        "What is the price at Zorvia?",
        "What is the rate at Zorvia?",
    }
    assert {example.source for example in crossings} == {Source.CONTRAST}


def test_one_name_alone_is_not_crossed() -> None:
    assert crossed([Fact("2 years", [asked("What is the warranty at Zorvia?")])], each=4, seed=0) == []
