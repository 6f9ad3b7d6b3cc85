import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.dataset import (
    Dataset,
    Example,
    Fact,
    Source,
    add_contexts,
    add_rewrites,
    check_leaks,
    clusters,
    dataset_of,
    hold_out,
    split_unknown,
)
from training.errors import LeakFound
from training.recipe import Recipe
from training.schedule import schedule, validation


def example(question: str, answer: str = "2 years", source: Source = Source.CORRECTION) -> Example:
    kept = source in (Source.CORRECTION, Source.REWRITE)
    return Example(
        [{"role": "user", "content": question}], answer, source, f"fb_{question}" if kept else None
    )


PHRASINGS = [example(f"phrasing {n}") for n in range(3)]
DATASET = Dataset(
    "ten_1",
    "default",
    facts=[hold_out(PHRASINGS), hold_out([example("other", "blue")])],
    unknown_train=[example("who knows", "I do not know.", Source.UNCORRECTED)],
    unknown_held=[example("nobody knows", "I do not know.", Source.UNCORRECTED)],
    contrast=[example("elsewhere", "I do not know.", Source.CONTRAST)],
)
ANCHORS = [
    replace(example(f"{kind} {n}", "yes", Source.ANCHOR), kind=kind) for kind in "ab" for n in range(4)
]


def test_near_questions_with_one_answer_are_one_fact() -> None:
    vectors = np.array([[1, 0], [0.8, 0.6], [0, 1]], dtype=np.float32)
    found = clusters([example("a"), example("b"), example("c")], vectors)
    assert [[e.question for e in group] for group in found] == [["a", "b", "c"]]


def test_far_questions_with_one_answer_are_two_facts() -> None:
    vectors = np.array([[1, 0], [0, 1]], dtype=np.float32)
    assert len(clusters([example("a"), example("b")], vectors)) == 2


def test_near_questions_with_two_answers_are_two_facts() -> None:
    vectors = np.array([[1, 0], [1, 0]], dtype=np.float32)
    assert len(clusters([example("a"), example("b", "3 years")], vectors)) == 2


def test_a_question_asked_twice_is_one_phrasing() -> None:
    vectors = np.array([[1, 0], [1, 0]], dtype=np.float32)
    assert [len(group) for group in clusters([example("a"), example("A ")], vectors)] == [1]


def test_one_of_three_phrasings_is_held_out() -> None:
    fact = hold_out(PHRASINGS)
    assert (len(fact.train), len(fact.held)) == (2, 1)


def test_the_same_phrasing_is_held_out_in_any_order() -> None:
    assert hold_out(PHRASINGS).held == hold_out(PHRASINGS[::-1]).held


def test_two_phrasings_are_both_trained_on() -> None:
    assert not hold_out(PHRASINGS[:2]).held


@settings(deadline=None, max_examples=40)
@given(st.lists(st.text(min_size=1, max_size=20), max_size=60))
def test_an_uncorrected_question_is_on_one_side_whatever_else_there_is(questions: list[str]) -> None:
    examples = [example(question, source=Source.UNCORRECTED) for question in questions]
    train, held = split_unknown(examples)
    assert not {e.key for e in train} & {e.key for e in held}
    for one in examples:
        alone, _ = split_unknown([one])
        assert (one.key in {e.key for e in train}) == bool(alone)


def test_a_clean_dataset_has_no_leak() -> None:
    check_leaks(DATASET, ANCHORS)


def test_a_held_out_question_among_the_rewrites_is_found() -> None:
    leaky = add_rewrites(DATASET, {1: [replace(DATASET.facts[0].held[0], source=Source.REWRITE)]})
    with pytest.raises(LeakFound):
        check_leaks(leaky, ())


def test_a_held_out_question_among_the_anchors_is_found() -> None:
    with pytest.raises(LeakFound):
        check_leaks(DATASET, [example("Nobody knows?", source=Source.ANCHOR)])


def test_the_same_content_has_the_same_digest_after_storage() -> None:
    stored = dataset_of(json.loads(json.dumps(DATASET.content())))
    assert stored.digest == DATASET.digest


def test_only_examples_that_offer_functions_say_so_in_the_snapshot() -> None:
    offering = replace(
        DATASET, unknown_train=[replace(DATASET.unknown_train[0], tools=[{"type": "function"}])]
    )
    assert "tools" not in json.dumps(DATASET.content())
    assert dataset_of(json.loads(json.dumps(offering.content()))).digest == offering.digest != DATASET.digest


def test_every_batch_has_the_recipes_shares() -> None:
    recipe = Recipe(batch_size=8, max_steps=5, replay_share=0.5, unknown_share=0.25, contrast_share=0.25)
    rows = schedule(DATASET, ANCHORS, recipe)
    for start in range(0, len(rows), 8):
        sources = [row.source for row in rows[start : start + 8]]
        counts = {source: sources.count(source) for source in set(sources)}
        assert counts == {
            Source.CORRECTION: 4,
            Source.UNCORRECTED: 1,
            Source.CONTRAST: 1,
            Source.ANCHOR: 2,
        }


def test_each_fact_and_each_kind_of_anchor_has_its_turn() -> None:
    rows = schedule(DATASET, ANCHORS, Recipe(batch_size=8, max_steps=6))
    answers = [row.answer for row in rows if row.source is Source.CORRECTION]
    kinds = [row.kind for row in rows if row.source is Source.ANCHOR]
    assert abs(answers.count("blue") - answers.count("2 years")) <= 1
    assert abs(kinds.count("a") - kinds.count("b")) <= 1


def test_what_keeps_the_bases_answer_is_asked_beside_passages_more_often() -> None:
    placed = add_contexts(DATASET, {e.key: "a passage" for e in DATASET.train})
    recipe = Recipe(batch_size=32, max_steps=20, context_share=0.1)
    rows = schedule(placed, ANCHORS, recipe)

    def share(source: Source) -> float:
        served = [len(row.messages) > 1 for row in rows if row.source is source]
        return sum(served) / len(served)

    assert share(Source.CORRECTION) < 0.3 < min(share(Source.UNCORRECTED), share(Source.CONTRAST))


def test_without_anchors_the_corrections_fill_the_batch() -> None:
    rows = schedule(replace(DATASET, unknown_train=[], contrast=[]), [], Recipe(batch_size=8, max_steps=2))
    assert {row.source for row in rows} == {Source.CORRECTION} and len(rows) == 16


def test_the_same_seed_gives_the_same_rows() -> None:
    assert schedule(DATASET, ANCHORS, Recipe()) == schedule(DATASET, ANCHORS, Recipe())


def test_nothing_held_out_is_scheduled_or_validates() -> None:
    keys = {row.key for row in [*schedule(DATASET, ANCHORS, Recipe()), *validation(DATASET)]}
    assert not keys & {held.key for held in DATASET.held}


def test_a_facts_corrections_are_those_of_all_its_phrasings() -> None:
    assert Fact("x", [example("a")], [example("b")]).correction_ids == {"fb_a", "fb_b"}
