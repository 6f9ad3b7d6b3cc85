"""What the gate says a version has learned. The whole gate with a real engine: tests/integration."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from adapters.testing import FakeEngine
from retrieval.client import RetrievalClient
from retrieval.types import Found
from training.dataset import Dataset, Example, Fact, Source
from training.evaluate import Asker
from training.gating import Gate
from training.types import GatePolicy

ANSWER = "41 days"
PASSAGE = "Acme sells bicycles."


class NothingFound:
    """Retrieval of a tenant without documents or memory."""

    async def search(self, *_: Any, **__: Any) -> Found:
        return Found()


def asked(question: str, source: Source, correction_id: str) -> Example:
    return Example([{"role": "user", "content": question}], ANSWER, source, correction_id, context=PASSAGE)


async def learned(examples: Sequence[Example], wrong: str) -> frozenset[str]:
    """By a candidate that is right unless its prompt has the words `wrong`."""

    def say(_: str, messages: Sequence[Any]) -> str:
        return "I do not know." if wrong in str(messages) else ANSWER

    engine = FakeEngine(answer=say)
    await engine.load("candidate", Path("nowhere"))
    gate = Gate(Asker([engine]), cast(RetrievalClient, NothingFound()), [])
    dataset = Dataset("tn_acme", "main", [Fact(ANSWER, examples)])
    return (await gate.judge(dataset, None, "candidate", frozenset(), GatePolicy())).learned


POSTED = [
    asked("How long is the warranty?", Source.CORRECTION, "fb_1"),
    asked("What is the guarantee period?", Source.CORRECTION, "fb_2"),
]
REWRITTEN = asked("guarantee period, please?", Source.REWRITE, "fb_2")


async def test_a_correction_is_learned_when_its_own_wording_is_right() -> None:
    assert await learned([*POSTED, REWRITTEN], wrong="How long") == {"fb_2"}


async def test_a_rewriting_of_ours_that_is_wrong_keeps_no_memory() -> None:
    assert await learned([*POSTED, REWRITTEN], wrong="please") == {"fb_1", "fb_2"}


async def test_what_is_wrong_beside_the_tenants_passages_is_not_learned() -> None:
    assert await learned([*POSTED, REWRITTEN], wrong="bicycles") == frozenset()
