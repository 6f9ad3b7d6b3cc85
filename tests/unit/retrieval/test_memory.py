import numpy as np
import pytest

from retrieval.lexicon import Lexicon, Vectors
from retrieval.memory import SENTENCE, Asked, Background, Bar, Stored, decide, score
from retrieval.reading import read
from retrieval.types import MemoryEntry

WORDS = ["return", "window", "period", "mascot", "refund"]
TABLE = np.eye(len(WORDS), dtype=np.float32) + np.float32(0.2)
"""Vectors of closeness 0.38: akin, but neither related nor synonyms."""
LEXICON = Lexicon(TABLE, {word: row for row, word in enumerate(WORDS)})
BAR = Bar(lowest=0.3, rise=0.0, highest=1.0, margin=0.05)


def views(similarity: float) -> Vectors:
    """Unit vectors whose cosine with views(1.0) is `similarity` in each view."""
    return np.tile(np.array([similarity, np.sqrt(1 - similarity**2)], np.float32), (3, 1))


def ask(question: str, similarity: float = 1.0, level: float = 0.0) -> Asked:
    return Asked(read(question), views(similarity), level)


def remember(question: str, answer: str, similarity: float, order: int = 0, level: float = 0.0) -> Stored:
    entry = MemoryEntry(f"fb_{order}", "ten_a", question, answer)
    return Stored(entry, ask(question, similarity, level), order)


QUESTION = ask("What is the return window?")


def test_a_close_question_is_answered() -> None:
    hits = decide(QUESTION, [remember("What is the return period?", "30 days", 0.8)], BAR, 1, LEXICON)
    assert [(hit.id, hit.answer, hit.score) for hit in hits] == [("fb_0", "30 days", 0.8)]


def test_a_question_below_the_bar_is_not_answered() -> None:
    assert decide(QUESTION, [remember("What is the mascot?", "an owl", 0.2)], BAR, 1, LEXICON) == []


def test_an_empty_memory_answers_nothing() -> None:
    assert decide(QUESTION, [], BAR, 0, LEXICON) == []


def test_a_conflict_outweighs_any_similarity() -> None:
    stored = remember("What is the return window at Zorvia?", "30 days", 0.99)
    assert decide(ask("What is the return window at Delta?"), [stored], BAR, 1, LEXICON) == []


def test_two_answers_that_fit_alike_are_no_answer() -> None:
    near = [
        remember("What is the return period?", "30 days", 0.80),
        remember("Which refund is there?", "5 days", 0.78, 1),
    ]
    assert decide(QUESTION, near, BAR, 2, LEXICON) == []


def test_two_phrasings_of_one_answer_do_not_compete() -> None:
    same = [
        remember("What is the return period?", "30 days", 0.80),
        remember("Return how late?", "30 days", 0.79, 1),
    ]
    assert decide(QUESTION, same, BAR, 2, LEXICON)[0].id == "fb_0"


def test_the_newer_of_two_answers_to_one_question_wins() -> None:
    both = [
        remember("What is the return period?", "30 days", 0.8),
        remember("Please, what is the return period?", "45 days", 0.8, 1),
    ]
    assert decide(QUESTION, both, BAR, 2, LEXICON)[0].answer == "45 days"


def test_the_same_wording_matches_whatever_its_level() -> None:
    stored = remember("What is the return window?", "30 days", 1.0, level=0.9)
    assert score(QUESTION, stored) == 1.0


def test_the_same_content_in_another_sentence_matches_whatever_its_level() -> None:
    stored = remember("Zorvia: what is the return window?", "30 days", 0.9, level=0.9)
    assert score(ask("I need to know the return window for Zorvia."), stored) == pytest.approx(0.9, abs=1e-6)


def test_another_question_word_is_not_the_same_content() -> None:
    stored = remember("When is the team meeting?", "on Monday", 0.9, level=0.8)
    assert score(ask("Where is the team meeting?", level=0.8), stored) == pytest.approx(0.1, abs=1e-6)


def test_a_question_close_to_everything_needs_a_closer_match() -> None:
    stored = remember("What is the return period?", "30 days", 0.8, level=0.6)
    assert score(ask("What is the return window?", level=0.6), stored) == pytest.approx(0.2, abs=1e-6)


def test_the_level_is_the_mean_over_the_nearest_background_questions() -> None:
    background = Background(np.stack([views(1.0)] * 20 + [views(0.0)] * 30))
    assert background.level(views(1.0)) == pytest.approx(1.0)


def test_the_bar_rises_with_the_memory_up_to_its_highest() -> None:
    bar = Bar()
    assert bar.at(1) < bar.at(12) < bar.at(36) <= bar.at(100_000) == bar.highest


def test_likeness_owed_to_the_sentence_does_not_count() -> None:
    stored = remember("I need the mascot.", "an owl", BAR.lowest + SENTENCE - 0.01)
    assert decide(ask("I need the refund."), [stored], BAR, 1, LEXICON) == []
    stored = remember("I need the mascot.", "an owl", BAR.lowest + SENTENCE + 0.01)
    assert decide(ask("I need the refund."), [stored], BAR, 1, LEXICON)[0].score == pytest.approx(0.31)


@pytest.mark.parametrize(
    "asked", ["what is the return window", "WHAT IS RETURN WINDOW?!", "Hi, what is a return window?"]
)
def test_case_punctuation_articles_and_politeness_change_nothing(asked: str) -> None:
    stored = remember("What is the return window?", "30 days", 0.1, level=0.9)
    assert decide(ask(asked), [stored], BAR, 1, LEXICON)[0].score == 1.0
