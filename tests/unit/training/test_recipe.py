import pytest

from training.errors import InvalidRecipe
from training.recipe import Recipe, recipe_of


def test_no_override_is_the_default() -> None:
    assert recipe_of({}) == Recipe()


def test_a_later_override_wins() -> None:
    assert recipe_of({"max_steps": 10}, {"max_steps": 20}).max_steps == 20


def test_whole_numbers_may_arrive_as_floats() -> None:
    assert recipe_of({"rank": 8.0}).rank == 8


@pytest.mark.parametrize(
    "override",
    [{"ranks": 8}, {"rank": 0}, {"rank": 2.5}, {"rank": "8"}, {"rank": True}, {"bf16": 1}, {"rank": 17}],
)
def test_what_cannot_be_trained_or_served_is_refused(override: dict[str, object]) -> None:
    with pytest.raises(InvalidRecipe):
        recipe_of(override, max_rank=16)
