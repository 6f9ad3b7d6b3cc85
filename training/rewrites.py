"""More phrasings of a fact, by the base model itself, and what a question's answer is when memory is on.

The teacher is the base model with approved answers in its context; the student is the adapter without them
(context distillation, Snell et al. 2022). A rewritten question is kept only when the encoder finds it near,
nobody holds it already, and the teacher gives the approved answer among near facts that it could be mistaken
for.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from adapters.types import BASE_NAME
from retrieval.client import RetrievalClient
from retrieval.prompt import compose, render
from training.dataset import Example, Fact, Source, Vectors
from training.evaluate import Asker, right
from training.types import Prompt

REWRITE_PROMPT = "Rewrite this question: {question}"
MIN_SIMILARITY = 0.6
"""Least cosine between a question and its rewriting (all-MiniLM-L6-v2)."""
NEAR_FACTS = 3
"""Approved answers in the teacher's context: the nearest ones, as memory would find them or worse."""
PASSAGES = 3
"""Passages in a prompt: what a tenant's policy says by default."""
SEARCHES = 8
"""Searches under way at once."""
SEARCH_TIMEOUT_S = 15.0
_EMBED_BATCH = 256


class Teacher:
    """The base model with the tenant's facts at hand."""

    def __init__(self, asker: Asker, retrieval: RetrievalClient) -> None:
        self._asker = asker
        self._retrieval = retrieval

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, shape (texts, dimensions)."""
        rows: list[Sequence[float]] = []
        for start in range(0, len(texts), _EMBED_BATCH):
            rows += (await self._retrieval.embed(texts[start : start + _EMBED_BATCH])).vectors
        return np.asarray(rows, dtype=np.float32)

    async def passages(self, tenant_id: str, questions: Sequence[str]) -> list[str]:
        """What of the tenant's documents stands in the prompt of each question, '' for nothing."""
        slots = asyncio.Semaphore(SEARCHES)

        async def one(question: str) -> str:
            async with slots:
                found = await self._retrieval.search(
                    tenant_id, question, k=PASSAGES, memory=False, timeout_s=SEARCH_TIMEOUT_S
                )
            return render([(passage.title, passage.text) for passage in found.passages], [])

        return await asyncio.gather(*(one(question) for question in questions))

    async def answers(self, examples: Sequence[Example], vectors: Vectors, shelf: "Shelf") -> list[str]:
        """What the base says to each conversation with the nearest facts in its context."""
        prompts = [
            Prompt(compose(example.messages, shelf.context(vector)), example.tools)
            for example, vector in zip(examples, vectors, strict=True)
        ]
        return [answer.text for answer in await self._asker.answers(BASE_NAME, prompts)]

    async def rewrites(
        self, facts: Sequence[Fact], shelf: "Shelf", taken: Collection[str], wanted: int, seed: int
    ) -> Mapping[int, Sequence[Example]]:
        """Up to `wanted` new phrasings per training question, by the fact's number. `taken`: keys of examples
        that must not come out, held-out ones among them."""
        sources = [(number, example) for number, fact in enumerate(facts) for example in fact.train]
        if not wanted or not sources:
            return {}
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._sample(example, wanted, seed)) for _, example in sources]
        drafts = [
            (number, draft)
            for (number, _), task in zip(sources, tasks, strict=True)
            for draft in task.result()
        ]
        return await self._kept(_distinct(drafts, taken), facts, shelf, wanted)

    async def _sample(self, example: Example, wanted: int, seed: int) -> Sequence[Example]:
        """Rewritings of one single-turn question; within a conversation the model has not learned to
        rewrite."""
        spoken = [message for message in example.messages if message.get("role") != "system"]
        if len(spoken) != 1:
            return []
        prompt = Prompt([{"role": "user", "content": REWRITE_PROMPT.format(question=example.question)}])
        texts = await self._asker.samples(BASE_NAME, prompt, wanted + wanted // 2, seed)
        return [_reworded(example, text.strip()) for text in texts if text.strip()]

    async def _kept(
        self, drafts: Sequence[tuple[int, Example]], facts: Sequence[Fact], shelf: "Shelf", wanted: int
    ) -> Mapping[int, Sequence[Example]]:
        if not drafts:
            return {}
        vectors = await self.embed([draft.question for _, draft in drafts])
        said = await self.answers([draft for _, draft in drafts], vectors, shelf)
        kept: dict[int, list[Example]] = {}
        for (number, draft), vector, answer in zip(drafts, vectors, said, strict=True):
            own = kept.setdefault(number, [])
            near = shelf.nearest(vector, facts[number].answer) >= MIN_SIMILARITY
            if near and right(answer, draft.answer) and len(own) < wanted * len(facts[number].train):
                own.append(draft)
        return kept


class Shelf:
    """Corrected questions with their answers and vectors."""

    def __init__(self, examples: Sequence[Example], vectors: Vectors) -> None:
        self._examples = examples
        self._vectors = vectors

    def context(self, vector: Vectors) -> str:
        """The approved answers nearest to a question, one question per answer, rendered as memory renders
        them."""
        if not self._examples:
            return ""
        best: dict[str, tuple[str, str]] = {}
        for i in np.argsort(-(self._vectors @ vector), kind="stable"):
            example = self._examples[i]
            best.setdefault(example.answer, (example.question, example.answer))
            if len(best) == NEAR_FACTS:
                break
        return render([], list(best.values()))

    def nearest(self, vector: Vectors, answer: str) -> float:
        """Largest cosine with a question that has this answer, 0 when there is none."""
        same = [i for i, example in enumerate(self._examples) if example.answer == answer]
        return float((self._vectors[same] @ vector).max(initial=0.0))


def _reworded(example: Example, text: str) -> Example:
    system = [message for message in example.messages if message.get("role") == "system"]
    messages = [*system, {"role": "user", "content": text}]
    return Example(messages, example.answer, Source.REWRITE, example.correction_id, tools=list(example.tools))


def _distinct(drafts: Sequence[tuple[int, Example]], taken: Collection[str]) -> list[tuple[int, Example]]:
    seen = set(taken)
    found = []
    for number, draft in drafts:
        if draft.key not in seen:
            seen.add(draft.key)
            found.append((number, draft))
    return found
