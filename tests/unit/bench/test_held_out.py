"""Held-out pairs for measuring memory."""

import pytest

from tests.bench.held_out import pairs, paraphrases
from tests.bench.held_out_words import FIFTH, FOURTH, SIXTH, Vocabulary


def test_a_seed_gives_its_pairs_again_and_another_seed_others() -> None:
    assert pairs(SIXTH, 40, 1) == pairs(SIXTH, 40, 1)
    assert pairs(SIXTH, 40, 1) != pairs(SIXTH, 40, 2)


@pytest.mark.parametrize("vocabulary", [FOURTH, FIFTH, SIXTH])
def test_every_kind_has_as_many_pairs_of_two_different_questions(vocabulary: Vocabulary) -> None:
    made = pairs(vocabulary, 300, 1)
    assert {kind.split(",")[0].split()[0] for kind in made} == {"other", "negation"}
    for found in (*made.values(), paraphrases(vocabulary, 300, 1)):
        assert len(set(found)) == 300
        assert all(one != other for one, other in found)


def test_fresh_words_are_in_no_former_vocabulary() -> None:
    for words in ("verbs", "adverbs", "prefixed", "intents", "subjects", "frames"):
        assert not set(getattr(SIXTH, words)) & {*getattr(FOURTH, words), *getattr(FIFTH, words)}
    for words in ("intents", "frames"):
        assert not set(getattr(FIFTH, words)) & set(getattr(FOURTH, words))
