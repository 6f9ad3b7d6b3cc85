from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from adapters.testing import FakeEngine
from retrieval.client import RetrievalClient
from retrieval.testing import FakeRetrieval
from retrieval.types import Embedded
from training.dataset import Example, Fact, Source
from training.evaluate import Asker
from training.rewrites import NEAR_FACTS, Shelf, Teacher


class AlikeRetrieval(FakeRetrieval):
    """Questions are near each other unless they say `far`."""

    async def embed(self, texts: Sequence[str], *, timeout_s: float = 60.0) -> Embedded:
        return Embedded([[0.0, 1.0] if "far" in text else [1.0, 0.0] for text in texts], 0)


def asked(question: str, answer: str = "2 years") -> Example:
    return Example([{"role": "user", "content": question}], answer, Source.CORRECTION, "fb_1")


WARRANTY = asked("What is the warranty at Zorvia?")
SHELF = Shelf([WARRANTY], np.array([[1, 0]], dtype=np.float32))


async def rewritten(*texts: str, taken: frozenset[str] = frozenset()) -> list[Example]:
    """What is kept when the base rewrites to these texts, and reads only questions about the warranty."""
    drafts = iter(texts)

    def answer(model: str, messages: Sequence[Mapping[str, Any]]) -> str:
        question = str(messages[-1]["content"])
        if question.startswith("Rewrite"):
            return next(drafts)
        return "2 years" if "warranty" in question and len(messages) == 2 else "I do not know."

    teacher = Teacher(Asker([FakeEngine(answer=answer)]), cast(RetrievalClient, AlikeRetrieval()))
    sources = [asked(f"{n} {WARRANTY.question}") for n in range(len(texts))]
    kept = await teacher.rewrites([Fact("2 years", sources)], SHELF, taken, wanted=2, seed=0)
    return list(kept.get(0, ()))


async def test_a_rewriting_that_the_teacher_answers_is_kept() -> None:
    (kept,) = await rewritten("How long is Zorvia's warranty?")
    assert (kept.answer, kept.source, kept.correction_id) == ("2 years", Source.REWRITE, "fb_1")


async def test_a_rewriting_that_means_something_else_is_dropped() -> None:
    assert await rewritten("What is Zorvia's phone number?") == []


async def test_a_rewriting_far_from_its_question_is_dropped() -> None:
    assert await rewritten("How far does the warranty go?") == []


async def test_a_rewriting_that_we_hold_already_is_dropped() -> None:
    text = "How long is Zorvia's warranty?"
    assert await rewritten(text, taken=frozenset({asked(text).key})) == []


async def test_the_same_rewriting_of_two_questions_is_kept_once() -> None:
    assert len(await rewritten("Zorvia's warranty?", "Zorvia's warranty")) == 1


async def test_nothing_is_rewritten_when_none_is_wanted() -> None:
    teacher = Teacher(Asker([FakeEngine()]), cast(RetrievalClient, AlikeRetrieval()))
    assert await teacher.rewrites([Fact("2 years", [WARRANTY])], SHELF, (), wanted=0, seed=0) == {}


def test_the_teachers_context_holds_the_nearest_answers_once_each() -> None:
    examples = [asked(f"question {n}", f"answer {n // 2}") for n in range(10)]
    angles = np.linspace(0, 1, 10)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    context = Shelf(examples, vectors).context(vectors[0])
    assert context.count("A: ") == NEAR_FACTS and "answer 0" in context and "answer 4" not in context
