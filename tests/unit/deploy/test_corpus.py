"""The demo world: what the base model reads, and what it never reads."""

import json
import re
from pathlib import Path

import pytest

from deploy.demo.corpus import BALANCED, COPYING_FIRST, Corpus, memorised_companies
from deploy.demo.general import all_general
from deploy.demo.language import FRAMES, INTENTS, UNSEEN_FRAMES
from deploy.demo.make_facts import make
from gateway.cli.facts import FactsFile

MODEL = Path(__file__).parents[3] / "deploy" / "demo" / "model"


@pytest.fixture(scope="module")
def text() -> str:
    """Every message of a sample of the corpus."""
    corpus = Corpus()
    documents = [*corpus.documents(0, 3000, COPYING_FIRST), *corpus.documents(1, 6000, BALANCED)]
    return "\n".join(message["content"] for document in documents for message in document)


def test_the_world_is_as_wide_as_promised() -> None:
    assert len(INTENTS) >= 28
    assert len(FRAMES) >= 7
    assert len(UNSEEN_FRAMES) == 3
    assert all(len(set(intent.nouns)) >= 4 for intent in INTENTS)


def test_noun_phrases_belong_to_one_intent() -> None:
    phrases = [noun for intent in INTENTS for noun in (*intent.nouns, intent.unseen_noun)]
    assert len(phrases) == len(set(phrases))


def test_unseen_frames_never_occur(text: str) -> None:
    for frame in UNSEEN_FRAMES:
        pattern = re.escape(frame).replace(r"\{noun\}", ".+").replace(r"\{company\}", ".+")
        assert not re.search(f"^{pattern}$", text, re.MULTILINE), frame


@pytest.mark.parametrize("intent", INTENTS, ids=lambda intent: str(intent.key))
def test_an_unseen_noun_phrase_never_occurs_but_its_words_do(text: str, intent: object) -> None:
    phrase: str = intent.unseen_noun  # type: ignore[attr-defined]
    assert not re.search(rf"\b(the|'s) {re.escape(phrase)}\b( (of|at|for) [A-Z]|[?.])", text), phrase
    for word in phrase.split():
        assert re.search(rf"\b{re.escape(word)}\b", text), word


def test_a_part_of_the_corpus_is_the_same_every_time() -> None:
    assert Corpus(3).documents(5, 40, BALANCED) == Corpus(3).documents(5, 40, BALANCED)


def test_two_seeds_make_different_documents() -> None:
    assert Corpus(3).documents(5, 40, BALANCED) != Corpus(4).documents(5, 40, BALANCED)


def test_general_questions_are_many_and_distinct() -> None:
    questions = {item.question for item in all_general()}
    assert len(questions) == len(all_general()) >= 600


def test_half_of_the_general_questions_are_probes() -> None:
    assert sum(item.is_probe for item in all_general()) >= 300


def test_no_anchor_is_a_probe() -> None:
    def questions(name: str) -> set[str]:
        lines = (MODEL / name).read_text(encoding="utf-8").splitlines()
        return {json.dumps(json.loads(line)["messages"], sort_keys=True) for line in lines}

    assert not questions("anchors.jsonl") & questions("probes.jsonl")


def test_the_shipped_model_is_small() -> None:
    assert (MODEL / "model.safetensors").stat().st_size <= 12 * 2**20


def test_a_made_facts_file_is_valid_and_its_questions_do_not_overlap() -> None:
    facts = FactsFile.model_validate(make(7))
    posted = {check.question for check in facts.posted}
    asked_later = {check.question for kind in ("elsewhere", "unseen_frames") for check in facts.phrased(kind)}
    assert len(facts.facts) == 12
    assert len(posted) == 36
    assert not posted & asked_later


def test_no_made_company_is_one_that_the_model_has_memorised() -> None:
    names = {company.name for company in memorised_companies()}
    assert not names & {make(seed)["company"] for seed in range(20)}
