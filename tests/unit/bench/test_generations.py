"""The world of the ten nights, and its plot."""

from xml.etree import ElementTree

import pytest

from tests.bench.generations_world import make
from tests.bench.line_plot import Line, Panel, drawn


def test_no_question_is_both_taught_and_measured_as_unknown() -> None:
    world = make(seed=1, nights=10, per_night=4)
    facts = [fact for night in world.nights for fact in night]
    taught = {text for fact in facts for text in (*fact.posted, fact.asked)}
    measured = [text for fact in facts for text in fact.others]
    assert len(facts) == 40 and len(taught) == 160
    assert taught.isdisjoint(measured) and taught.isdisjoint(world.never)
    assert set(world.undisputed).isdisjoint(world.never)


def test_more_facts_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="more than"):
        make(seed=1, nights=15, per_night=4)


def test_a_plot_is_an_image_whose_lines_stay_inside() -> None:
    panel = Panel("share <right>", [Line("a", [(1, 0.9), (2, 1.0)]), Line("b", [(1, 0.5), (2, 0.1)])], 0.95)
    image = ElementTree.fromstring(drawn([panel, Panel("nothing", [])]))
    lines = [each.get("points", "") for each in image.iter("{http://www.w3.org/2000/svg}polyline")]
    places = [tuple(map(float, place.split(","))) for line in lines for place in line.split()]
    assert len(places) == 4
    assert all(0 <= x <= 400 and 0 <= y <= 230 for x, y in places)
