import pytest

from retrieval.lexicon import Lexicon, inflections, whole_words


@pytest.mark.parametrize(
    "word",
    ["refunds", "unsubscribe", "policies", "cancelling", "check-in", "warranties", "reimbursement", "2fa"],
)
def test_english_is_everyday(lexicon: Lexicon, word: str) -> None:
    assert lexicon.everyday(word)


@pytest.mark.parametrize("word", ["zorvia", "stonebrook", "krynnex", "alder-vantrel"])
def test_a_made_up_word_is_not(lexicon: Lexicon, word: str) -> None:
    assert not lexicon.everyday(word)


def test_synonyms_are_closer_than_opposites_and_an_unknown_word_is_close_to_none(lexicon: Lexicon) -> None:
    assert lexicon.closeness("often", "frequently") > 0.7 > lexicon.closeness("usually", "rarely")
    assert lexicon.closeness("zorvia", "often") == 0.0


@pytest.mark.parametrize(
    ("one", "other"), [("ship", "shipping"), ("policy", "policies"), ("state", "stating")]
)
def test_forms_of_one_word_have_a_stem_in_common(one: str, other: str) -> None:
    assert inflections(one) & inflections(other)


@pytest.mark.parametrize(("one", "other"), [("useful", "useless"), ("insured", "uninsured")])
def test_opposites_have_none(one: str, other: str) -> None:
    assert not inflections(one) & inflections(other)


@pytest.mark.parametrize(
    "pieces", [{"book": 0, "##ing": 1, "[CLS]": 2}, {"▁Book": 0, "ing": 1}, {"Ġbook": 0, "ing": 1, "Ġ": 2}]
)
def test_whole_words_are_told_from_pieces_in_each_kind_of_vocabulary(pieces: dict[str, int]) -> None:
    assert whole_words(pieces) == {"book": 0}
