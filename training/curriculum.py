"""Builds a run's dataset: harvest, split, then augment, in this order, so that nothing held out is ever
rewritten, replayed or trained on."""

import asyncio
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.types import BASE_NAME
from training import harvest
from training.contrast import crossed, near_misses
from training.dataset import (
    Dataset,
    Example,
    Source,
    add_contexts,
    add_rewrites,
    check_leaks,
    clusters,
    dataset_of,
    hold_out,
    split_unknown,
)
from training.errors import NotEnoughData
from training.evaluate import Asker, Case, right
from training.feedback import FeedbackStore
from training.recipe import Recipe
from training.rewrites import Shelf, Teacher
from training.rows import insert_absent, now
from training.tables import dataset_corrections, datasets
from training.types import ScreeningPolicy

_GUARDED = frozenset({Source.UNCORRECTED, Source.CONTRAST})
"""Questions that keep the base's answer."""
_PLACED = frozenset({Source.CORRECTION, Source.TRAFFIC}) | _GUARDED
"""Questions whose passages are looked up."""


@dataclass(frozen=True)
class Anchors:
    """The base model's own answers, replayed so that it keeps its abilities."""

    examples: Sequence[Example]
    digest: str


def read_anchors(path: Path) -> Anchors:
    """Anchors from JSON lines {messages, answer, kind?}; a base without the file has none."""
    if not path.is_file():
        return Anchors((), "")
    data = path.read_bytes()
    rows = [json.loads(line) for line in data.splitlines() if line.strip()]
    examples = [
        Example(row["messages"], row["answer"], Source.ANCHOR, kind=row.get("kind", "")) for row in rows
    ]
    return Anchors(examples, f"sha256:{hashlib.sha256(data).hexdigest()}")


def read_probes(path: Path) -> list[Case]:
    """Probes from JSON lines {messages, answer, kind?}; a base without the file has none."""
    if not path.is_file():
        return []
    rows = [json.loads(line) for line in path.read_bytes().splitlines() if line.strip()]
    return [Case(row["messages"], row["answer"], row.get("kind", "probe")) for row in rows]


class Curriculum:
    """Makes and stores datasets."""

    def __init__(self, engine: AsyncEngine, asker: Asker, teacher: Teacher, anchors: Anchors) -> None:
        self._engine = engine
        self._feedback = FeedbackStore(engine)
        self._asker = asker
        self._teacher = teacher
        self._anchors = anchors

    async def build(
        self, tenant_id: str, adapter: str, recipe: Recipe, rules: ScreeningPolicy, trains: bool = True
    ) -> Dataset:
        """The dataset of this moment. rules: what of the journal may be learned. trains: whether anything is trained on
        it, or versions are only judged by it.

        Raises NotEnoughData where nothing was corrected and it trains, LeakFound, EngineError, RetrievalUnavailable.
        """
        corrections = harvest.corrected(await self._feedback.accepted(tenant_id, adapter))
        if trains and not corrections:
            raise NotEnoughData("no accepted correction to train on")
        journal = await harvest.read_interactions(self._engine, tenant_id, adapter)
        answered = await asyncio.to_thread(harvest.screened, journal, rules)
        positives = [*corrections, *harvest.traffic(answered, corrections)]
        vectors = await self._teacher.embed([example.question for example in positives])
        facts = [hold_out(c) for c in await asyncio.to_thread(clusters, positives, vectors)]
        shelf = Shelf(positives, vectors)
        unknown = await self._unknown(harvest.uncorrected(answered, positives), shelf)
        train, held = split_unknown(unknown)
        dataset = Dataset(tenant_id, adapter, facts, train, held, anchors_digest=self._anchors.digest)
        dataset = await self._augmented(dataset, shelf, recipe)
        dataset = add_contexts(dataset, await self._contexts(dataset))
        check_leaks(dataset, self.anchors_for(dataset))
        await self._store(dataset)
        return dataset

    async def stored(self, tenant_id: str, digest: str) -> Dataset | None:
        """A dataset that `build` made before; None when it is gone, or was made for other anchors."""
        query = sa.select(datasets.c.content).where(
            datasets.c.digest == digest, datasets.c.tenant_id == tenant_id
        )
        async with self._engine.connect() as connection:
            content = (await connection.execute(query)).scalar_one_or_none()
        dataset = None if content is None else dataset_of(content)
        return dataset if dataset and dataset.anchors_digest == self._anchors.digest else None

    def anchors_for(self, dataset: Dataset) -> list[Example]:
        """The anchors without those that a tenant's held-out question happens to repeat."""
        held = {example.key for example in dataset.held}
        return [anchor for anchor in self._anchors.examples if anchor.key not in held]

    async def _unknown(self, candidates: Sequence[Example], shelf: Shelf) -> list[Example]:
        """The questions that no correction covers, with the base's answer: the base says the same with the
        nearest approved answers at hand as without any."""
        if not candidates:
            return []
        plain = await self._asker.answers(BASE_NAME, [example.prompt for example in candidates])
        vectors = await self._teacher.embed([example.question for example in candidates])
        taught = await self._teacher.answers(candidates, vectors, shelf)
        return [
            replace(example, answer=said.text)
            for example, said, told in zip(candidates, plain, taught, strict=True)
            if said.text and right(told, said.text)
        ]

    async def _augmented(self, dataset: Dataset, shelf: Shelf, recipe: Recipe) -> Dataset:
        taken = {example.key for example in [*dataset.train, *dataset.held]}
        rewrites = await self._teacher.rewrites(dataset.facts, shelf, taken, recipe.rewrites, recipe.seed)
        dataset = add_rewrites(dataset, rewrites)
        asked = near_misses(dataset.facts, self._anchors.examples, recipe.near_misses, recipe.seed)
        fresh = [example for example in asked if example.key not in taken]
        said = await self._asker.answers(BASE_NAME, [example.prompt for example in fresh])
        contrast = [replace(example, answer=answer.text) for example, answer in zip(fresh, said, strict=True)]
        own = crossed(dataset.facts, recipe.near_misses, recipe.seed)
        contrast += await self._unknown([example for example in own if example.key not in taken], shelf)
        return replace(dataset, contrast=[example for example in contrast if example.answer])

    async def _contexts(self, dataset: Dataset) -> dict[str, str]:
        """The passages that requests with these questions are served with, by example key. Rewritings are not
        looked up: their correction's passages stand for them. A question that keeps the base's answer goes
        without passages beside which the base says something else."""
        asked = [e for e in [*dataset.train, *dataset.held] if e.source in _PLACED]
        found = await self._teacher.passages(dataset.tenant_id, [example.question for example in asked])
        placed = [replace(e, context=text) for e, text in zip(asked, found, strict=True) if text]
        said = await self._asker.answers(BASE_NAME, [example.served.prompt for example in placed])
        return {
            example.key: example.context
            for example, answer in zip(placed, said, strict=True)
            if example.source not in _GUARDED or right(answer.text, example.answer)
        }

    async def _store(self, dataset: Dataset) -> None:
        row = {
            "digest": dataset.digest,
            "tenant_id": dataset.tenant_id,
            "adapter": dataset.adapter,
            "content": dataset.content(),
            "created_at": now(),
        }
        held = {name for fact in dataset.facts for name in fact.correction_ids}
        named = [{"correction_id": name, "digest": dataset.digest} for name in sorted(held)]
        async with self._engine.begin() as connection:
            await insert_absent(connection, datasets, [row])
            await insert_absent(connection, dataset_corrections, named)
