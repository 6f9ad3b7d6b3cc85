import pytest

from training.errors import InvalidRecipe
from training.recipe import Recipe, recipe_of, usable


def test_no_override_is_the_default() -> None:
    assert recipe_of({}) == Recipe()


def test_a_later_override_wins() -> None:
    assert recipe_of({"max_steps": 10}, {"max_steps": 20}).max_steps == 20


def test_whole_numbers_may_arrive_as_floats() -> None:
    assert recipe_of({"rank": 8.0}).rank == 8


@pytest.mark.parametrize(
    "override",
    [
        {"ranks": 8},
        {"rank": 0},
        {"rank": 2.5},
        {"rank": "8"},
        {"rank": True},
        {"bf16": 1},
        {"rank": 17},
        {"rank": float("inf")},
        {"learning_rate": float("nan")},
    ],
)
def test_what_cannot_be_trained_or_served_is_refused(override: dict[str, object]) -> None:
    with pytest.raises(InvalidRecipe):
        recipe_of(override, max_rank=16)


def test_of_an_override_the_valid_fields_are_usable() -> None:
    assert usable({"ranks": 8, "rank": 0, "max_steps": 20}) == {"max_steps": 20}


def test_a_longer_record_takes_more_steps_up_to_a_bound() -> None:
    recipe = Recipe(min_steps=44, rows_per_fact=40, max_steps=240)
    assert [recipe.steps(facts) for facts in (1, 12, 40, 1000)] == [44, 44, 115, 240]


def test_a_bound_below_the_least_steps_counts() -> None:
    assert Recipe(max_steps=4).steps(12) == 4
