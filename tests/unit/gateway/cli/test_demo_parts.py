"""What the demo is told with."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from gateway.cli.asking import Answer, share_right, share_unknown
from gateway.cli.control import external_id
from gateway.cli.facts import Check, FactsError, load
from gateway.cli.story import Story
from gateway.cli.traffic import Stream, own_version

SHIPPED = Path(__file__).parents[4] / "deploy" / "demo" / "facts" / "acme.yaml"


def answer(text: str) -> Answer:
    return Answer("chatcmpl-1", "?", text, "base", (), (), 10, 1.0)


def story() -> Story:
    return Story(Console(file=io.StringIO()))


def test_the_shipped_facts_file_is_valid() -> None:
    assert load(SHIPPED).company == "Acme"


def test_a_facts_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(FactsError, match="No such file"):
        load(tmp_path / "none.yaml")


def test_a_facts_file_with_a_missing_field_names_the_field(tmp_path: Path) -> None:
    file = tmp_path / "short.yaml"
    file.write_text("company: Acme\n")
    with pytest.raises(FactsError, match="rival: Field required"):
        load(file)


def test_a_facts_file_that_is_not_yaml_is_said_so(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("company: [")
    with pytest.raises(FactsError, match="not YAML"):
        load(file)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Acme", "acme"),
        ("Bauer & Söhne", "bauer-sohne"),
        ("dromfort.com", "dromfort-com"),
        ("東京", "company-e69db1e4baac"),
    ],
)
def test_every_company_name_has_an_external_id(name: str, expected: str) -> None:
    assert external_id(name) == expected


def test_an_answer_is_right_whatever_its_case_and_last_dot() -> None:
    assert answer("30 Days.").says("30 days")


def test_an_answer_with_another_number_is_wrong() -> None:
    assert not answer("31 days").says("30 days")


def test_shares_are_counted_over_all_answers() -> None:
    answers = [answer("1"), answer("I do not know.")]
    assert share_right(answers, [Check(question="a", answer="1"), Check(question="b", answer="2")]) == 0.5
    assert share_unknown(answers) == 0.5


def test_a_figure_over_its_bound_makes_the_story_untrue() -> None:
    told = story()
    assert not told.figure("swap", 1200, "ms", 1000)
    assert not told.finish()


def test_a_share_under_its_least_value_makes_the_story_untrue() -> None:
    told = story()
    assert not told.bar("trained", 0.9, 0.95)
    assert told.as_json()["true"] is False


def test_a_story_of_true_checks_is_true() -> None:
    told = story()
    told.check("it holds", True)
    told.figure("failed", 0, "", 0)
    assert told.finish()


def test_a_stream_that_turns_to_another_version_is_found_out() -> None:
    assert not own_version(Stream("q", "base", "aaabbb"), same="aaaaaa", other="aaabbb")


def test_a_stream_that_differs_from_its_version_late_is_still_its_own() -> None:
    assert own_version(Stream("q", "base", "aaaaax"), same="aaaaaa", other="aaabbb")
