"""The gate's questions: asks production and the candidate the same things through the real engine, and
gathers the evidence that `gates` judges."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from adapters.types import BASE_NAME
from retrieval.client import RetrievalClient
from retrieval.prompt import compose, render
from retrieval.types import Found
from training.dataset import Dataset, Example, Fact, Source
from training.evaluate import Answer, Asker, Case, right, token_f1
from training.gates import Check, Evidence, Pair, judge
from training.rewrites import PASSAGES, SEARCH_TIMEOUT_S, SEARCHES
from training.types import GatePolicy, Prompt, Verdict

UNKNOWN_KIND = "unknown"
"""Kind of the probes whose right answer is that it is not known; they judge abstention with the tenant's
own."""
IMPROVEMENT = "held-out phrasing"
TRAINED = "phrasing"
EARLIER = "earlier corrections"
ABSTENTION = "abstention"
PROBES = "base probes"
WITH_MEMORY = "memory on"


@dataclass(frozen=True)
class Judged:
    """One case with both answers."""

    case: Case
    before: Answer
    after: Answer

    @property
    def pair(self) -> Pair:
        return Pair(right(self.before.text, self.case.answer), right(self.after.text, self.case.answer))

    def line(self) -> dict[str, Any]:
        """As the report keeps it."""
        return {
            "kind": self.case.kind,
            "question": self.case.subject or str(self.case.messages[-1].get("content", "")),
            "wanted": self.case.answer,
            "before": self.before.text,
            "after": self.after.text,
            "right_before": self.pair.before,
            "right_after": self.pair.after,
            "f1_after": round(token_f1(self.after.text, self.case.answer), 3),
        }


@dataclass(frozen=True)
class GateResult:
    verdict: Verdict
    checks: Sequence[Check]
    judged: Sequence[Judged]
    learned: frozenset[str]
    """Corrections whose own wording the candidate answers without memory."""

    def report(self) -> dict[str, Any]:
        """As the run keeps it: the verdict, each check, every prompt with both answers."""
        return {
            "verdict": self.verdict.value,
            "checks": [asdict(check) for check in self.checks],
            "learned": sorted(self.learned),
            "cases": [judged.line() for judged in self.judged],
        }


class Gate:
    """Compares a loaded candidate with production."""

    def __init__(self, asker: Asker, retrieval: RetrievalClient, probes: Sequence[Case]) -> None:
        self._asker = asker
        self._retrieval = retrieval
        self._probes = probes

    async def judge(
        self,
        dataset: Dataset,
        production: str | None,
        candidate: str,
        learned_before: frozenset[str],
        policy: GatePolicy,
    ) -> GateResult:
        """production: a version id, None for the base model alone. learned_before: what production has
        learned.

        Raises EngineError, RetrievalUnavailable.
        """
        before = production or BASE_NAME
        facts = await self._facts(dataset.facts, before, candidate)
        guarded = await self._guarded(dataset, facts, before, candidate, learned_before)
        learned = await self._learned(dataset.facts, candidate)
        memory = await self._with_memory(dataset, before, candidate, learned_before, learned)
        evidence = Evidence(
            facts=[_vote(judged) for judged in facts if _held(judged)],
            guarded={name: [one.pair for one in judged] for name, judged in guarded.items() if judged},
            with_memory=[one.pair for one in memory],
            **_lengths([one for judged in guarded.values() for one in judged]),
        )
        verdict, checks = judge(evidence, policy)
        everything = [one for group in [*facts, *guarded.values(), memory] for one in group]
        return GateResult(verdict, checks, everything, learned)

    async def _facts(self, facts: Sequence[Fact], before: str, candidate: str) -> list[Sequence[Judged]]:
        """Every phrasing of every fact, fact by fact."""
        cases = [_cases(fact) for fact in facts]
        judged = iter(await self._both([case for own in cases for case in own], before, candidate))
        return [list(islice(judged, len(own))) for own in cases]

    async def _learned(self, facts: Sequence[Fact], candidate: str) -> frozenset[str]:
        """Corrections that the candidate answers in their own wording, alone and beside the tenant's passages, which
        is how it will be asked once their memory is skipped."""
        asked = [e for fact in facts for e in fact.phrasings if e.source is Source.CORRECTION]
        alone = await self._asker.answers(candidate, [example.prompt for example in asked])
        served = await self._asker.answers(candidate, [example.served.prompt for example in asked])
        return frozenset(
            example.correction_id
            for example, one, other in zip(asked, alone, served, strict=True)
            if example.correction_id and right(one.text, example.answer) and right(other.text, example.answer)
        )

    async def prepare(self) -> None:
        """Ask the base model the probes before any run waits for their answers. Raises EngineError."""
        await self._asker.answers(BASE_NAME, [case.prompt for case in self._probes])

    async def _guarded(
        self,
        dataset: Dataset,
        facts: Sequence[Sequence[Judged]],
        before: str,
        candidate: str,
        learned_before: frozenset[str],
    ) -> Mapping[str, Sequence[Judged]]:
        """The sets that must not get worse."""
        unknown = [case for case in self._probes if case.kind == UNKNOWN_KIND]
        known = [case for case in self._probes if case.kind != UNKNOWN_KIND]
        unknown += [
            Case(e.messages, e.answer, "uncorrected question", tools=e.tools) for e in dataset.unknown_held
        ]
        earlier = [
            one
            for fact, judged in zip(dataset.facts, facts, strict=True)
            if fact.correction_ids & learned_before
            for one in judged
        ]
        return {
            PROBES: await self._both(known, before, candidate),
            ABSTENTION: await self._both(unknown, before, candidate),
            EARLIER: earlier,
        }

    async def _with_memory(
        self,
        dataset: Dataset,
        before: str,
        candidate: str,
        learned_before: frozenset[str],
        learned: frozenset[str],
    ) -> list[Judged]:
        """What people posted, asked as a tenant asks it: with the memory that each version has not
        learned."""
        posted = [e for fact in dataset.facts for e in fact.phrasings if e.source is not Source.REWRITE]
        slots = asyncio.Semaphore(SEARCHES)
        found = await asyncio.gather(
            *(self._found(dataset.tenant_id, example.question, slots) for example in posted)
        )
        old = [_recalled(e, hits, learned_before) for e, hits in zip(posted, found, strict=True)]
        new = [_recalled(e, hits, learned) for e, hits in zip(posted, found, strict=True)]
        answers = await self._asker.answers(before, old), await self._asker.answers(candidate, new)
        return [
            Judged(Case(example.messages, example.answer, WITH_MEMORY), one, other)
            for example, one, other in zip(posted, *answers, strict=True)
        ]

    async def _found(self, tenant_id: str, question: str, slots: asyncio.Semaphore) -> Found:
        """The passages and memory that a request with this question would use."""
        async with slots:
            return await self._retrieval.search(tenant_id, question, k=PASSAGES, timeout_s=SEARCH_TIMEOUT_S)

    async def _both(self, cases: Sequence[Case], before: str, candidate: str) -> list[Judged]:
        prompts = [case.prompt for case in cases]
        old, new = await self._asker.answers(before, prompts), await self._asker.answers(candidate, prompts)
        return [Judged(case, one, other) for case, one, other in zip(cases, old, new, strict=True)]


def _cases(fact: Fact) -> list[Case]:
    held = {example.key for example in fact.held}
    return [
        Case(
            example.messages,
            example.answer,
            IMPROVEMENT if example.key in held else TRAINED,
            tools=example.tools,
        )
        for example in fact.phrasings
    ]


def _recalled(example: Example, found: Found, learned: frozenset[str]) -> Prompt:
    """The prompt of a request, which leaves out the memory that its version has learned."""
    passages = [(passage.title, passage.text) for passage in found.passages]
    answers = [(hit.question, hit.answer) for hit in found.needed(learned)]
    return Prompt(compose(example.messages, render(passages, answers)), example.tools)


def _held(judged: Sequence[Judged]) -> list[Judged]:
    return [one for one in judged if one.case.kind == IMPROVEMENT]


def _vote(judged: Sequence[Judged]) -> Pair:
    """One fact's vote: right in all its held-out phrasings."""
    held = _held(judged)
    return Pair(all(one.pair.before for one in held), all(one.pair.after for one in held))


def _lengths(judged: Sequence[Judged]) -> dict[str, float]:
    count = max(len(judged), 1)
    return {
        "length_before": sum(one.before.tokens for one in judged) / count,
        "length_after": sum(one.after.tokens for one in judged) / count,
    }
