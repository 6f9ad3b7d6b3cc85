import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.clause import parse


@pytest.mark.parametrize(
    ("question", "predicates"),
    [
        ("Do you repair garden tools?", {"repair"}),
        ("Does the shop repair tools?", {"repair", "tools"}),
        ("Which branches sell tools?", {"branches", "sell", "tools"}),
        ("What is the return window?", set()),
        ("Tell me the price of delivery.", set()),
        ("Cancel my order.", {"cancel"}),
        ("Who rarely gets a refund?", {"rarely", "gets"}),
        ("Are orders always shipped?", {"orders", "always", "shipped"}),
        ("Who looks after the tools?", {"looks", "after"}),
        ("What is the monthly fee?", set()),
        ("Are Zorvia's monthly fees high?", {"zorvia"}),
    ],
)
def test_what_is_done_is_told_from_what_it_is_done_to(question: str, predicates: set[str]) -> None:
    assert parse(question).predicates == predicates


@pytest.mark.parametrize(
    ("question", "topics"),
    [
        ("what is the mascot of green door?", {"green", "door"}),
        ("is the mascot of green door an owl?", {"green", "door"}),
        ("green door: what is the mascot?", {"green", "door"}),
        ("does zorvia ship books?", {"zorvia", "ship"}),
        ("does green door publish prices?", {"green", "door", "publish"}),
        ("green door's prices, please", {"green", "door"}),
        ("green door and the prices: what applies?", {"green", "door"}),
        ("cancel my order, please", set()),
        ("what is the price of the book?", set()),
    ],
)
def test_topics_stand_where_a_name_would(question: str, topics: set[str]) -> None:
    assert parse(question).topics == topics


@pytest.mark.parametrize(
    ("question", "heads"),
    [
        ("What is the delivery time?", {"time"}),
        ("What is the price of delivery?", {"price", "delivery"}),
        ("Do you repair garden tools?", {"tools"}),
        ("How are the annual reports organised?", {"reports"}),
    ],
)
def test_heads_end_what_is_named(question: str, heads: set[str]) -> None:
    assert parse(question).heads == heads


@settings(deadline=None)
@given(st.text())
def test_any_text_can_be_parsed(text: str) -> None:
    assert parse(text).predicates | parse(text).topics is not None
