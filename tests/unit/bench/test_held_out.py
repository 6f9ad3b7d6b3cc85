"""Held-out pairs for measuring memory."""

from tests.bench.held_out import pairs, paraphrases


def test_a_seed_gives_its_pairs_again_and_another_seed_others() -> None:
    assert pairs(40, 1) == pairs(40, 1)
    assert pairs(40, 1) != pairs(40, 2)


def test_every_kind_has_as_many_pairs_of_two_different_questions() -> None:
    made = pairs(300, 1)
    assert {kind.split(",")[0].split()[0] for kind in made} == {"other", "negation"}
    for found in (*made.values(), paraphrases(300, 1)):
        assert len(set(found)) == 300
        assert all(one != other for one, other in found)
