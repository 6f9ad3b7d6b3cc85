"""What a run trains on and what it is judged by, split before anything else sees it. Pure.

A fact is a cluster of questions with one answer. Of each fact with three phrasings or more, the one with the
lowest hash is held out for ever; of the questions that nobody corrected, every fourth by hash. The rest is
trained on.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval.prompt import compose
from training.errors import LeakFound
from training.screening import conversation_key, normalised
from training.types import Message, Prompt, Tool, question_of

SAME_FACT = 0.5
"""Least cosine of two questions with the same answer that makes them phrasings of one fact
(all-MiniLM-L6-v2)."""
HELD_FROM = 3
"""Phrasings a fact needs before one of them is held out."""
UNKNOWN_HELD = 4
"""One in this many uncorrected questions is held out."""
MAX_UNKNOWN = 400

Vectors = npt.NDArray[np.float32]


class Source(StrEnum):
    """Where an example comes from."""

    CORRECTION = "correction"
    TRAFFIC = "traffic"
    REWRITE = "rewrite"
    UNCORRECTED = "uncorrected"
    CONTRAST = "contrast"
    ANCHOR = "anchor"


@dataclass(frozen=True)
class Example:
    """A conversation and its right answer."""

    messages: Sequence[Message]
    answer: str
    source: Source
    correction_id: str | None = None
    """The correction that it is a phrasing of."""
    kind: str = ""
    """What an anchor practises; replay goes round the kinds."""
    context: str = ""
    """The tenant's own passages that a request with this question is served with, as the prompt shows them."""
    tools: Sequence[Tool] = ()
    """The functions that the request offered, which its prompt shows, too."""

    @property
    def question(self) -> str:
        return question_of(self.messages)

    @property
    def key(self) -> str:
        """The same for two examples that ask the same."""
        return conversation_key(self.messages)

    @property
    def hash(self) -> str:
        return hashlib.sha256(self.key.encode()).hexdigest()

    @property
    def prompt(self) -> Prompt:
        return Prompt(self.messages, self.tools)

    @property
    def served(self) -> "Example":
        """The same, with its passages in the prompt."""
        return replace(self, messages=compose(self.messages, self.context))


@dataclass(frozen=True)
class Fact:
    """One thing that was corrected, in all phrasings that we hold."""

    answer: str
    train: Sequence[Example]
    held: Sequence[Example] = ()

    @property
    def phrasings(self) -> Sequence[Example]:
        return [*self.train, *self.held]

    @property
    def correction_ids(self) -> frozenset[str]:
        return frozenset(example.correction_id for example in self.phrasings if example.correction_id)


@dataclass(frozen=True)
class Dataset:
    """A frozen snapshot: the same corrections and traffic give the same digest."""

    tenant_id: str
    adapter: str
    facts: Sequence[Fact]
    unknown_train: Sequence[Example] = ()
    unknown_held: Sequence[Example] = ()
    contrast: Sequence[Example] = ()
    """Corrected questions about somebody else, with the base's answer."""
    anchors_digest: str = ""
    """Which anchors are replayed; their text stays in its file."""

    @property
    def held(self) -> Sequence[Example]:
        return [*(example for fact in self.facts for example in fact.held), *self.unknown_held]

    @property
    def train(self) -> Sequence[Example]:
        return [
            *(example for fact in self.facts for example in fact.train),
            *self.unknown_train,
            *self.contrast,
        ]

    def counts(self) -> dict[str, int]:
        """Sizes of the parts, for the run's story."""
        return {
            "facts": len(self.facts),
            **{
                source.value: sum(example.source is source for example in self.train)
                for source in Source
                if source is not Source.ANCHOR
            },
            "phrasings_held": sum(len(fact.held) for fact in self.facts),
            "uncorrected_held": len(self.unknown_held),
        }

    def content(self) -> dict[str, Any]:
        """As JSON values."""
        values: dict[str, Any] = json.loads(json.dumps(self._record()))
        return values

    def _record(self) -> dict[str, Any]:
        """Without the field that examples have got since the first digests, where it is empty."""
        return asdict(self, dict_factory=lambda fields: {k: v for k, v in fields if v or k != "tools"})

    @property
    def digest(self) -> str:
        text = json.dumps(self._record(), sort_keys=True, ensure_ascii=False)
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def dataset_of(content: Mapping[str, Any]) -> Dataset:
    """The snapshot in `Dataset.content()`."""
    values = dict(content)
    values["facts"] = [
        Fact(fact["answer"], _examples(fact["train"]), _examples(fact["held"])) for fact in content["facts"]
    ]
    for name in ("unknown_train", "unknown_held", "contrast"):
        values[name] = _examples(content[name])
    return Dataset(**values)


def _examples(rows: Iterable[Mapping[str, Any]]) -> list[Example]:
    return [Example(**{**row, "source": Source(row["source"])}) for row in rows]


def clusters(examples: Sequence[Example], vectors: Vectors) -> list[list[Example]]:
    """Examples that ask for the same fact: the same answer and, link by link, a near question. In order of
    first appearance; a question asked twice appears once.

    vectors: unit vectors of the questions, shape (examples, dimensions).
    """
    by_answer: dict[str, list[int]] = {}
    for i, example in enumerate(examples):
        by_answer.setdefault(normalised(example.answer), []).append(i)
    groups = [group for same in by_answer.values() for group in _linked(same, vectors)]
    groups.sort()
    return [list({examples[i].key: examples[i] for i in reversed(group)}.values())[::-1] for group in groups]


def _linked(same: Sequence[int], vectors: Vectors) -> list[list[int]]:
    """Indices of examples with one answer, parted where no question is near one of the other part."""
    near = vectors[same] @ vectors[same].T >= SAME_FACT
    groups: list[list[int]] = []
    for i in range(len(same)):
        linked = [group for group in groups if near[i, group].any()]
        groups = [group for group in groups if group not in linked]
        groups.append(sorted([i, *(j for group in linked for j in group)]))
    return [[same[i] for i in group] for group in groups]


def hold_out(cluster: Sequence[Example]) -> Fact:
    """Split one fact's phrasings."""
    held: list[Example] = []
    if len(cluster) >= HELD_FROM:
        held = [min(cluster, key=lambda example: example.hash)]
    return Fact(cluster[0].answer, [example for example in cluster if example not in held], held)


def split_unknown(examples: Iterable[Example]) -> tuple[list[Example], list[Example]]:
    """Uncorrected questions for training and for the gate: the hash decides, so a question never changes
    sides."""
    unique = {example.key: example for example in examples}.values()
    distinct = sorted(unique, key=lambda example: example.hash)
    held = [example for example in distinct if int(example.hash[-8:], 16) % UNKNOWN_HELD == 0]
    train = [example for example in distinct if example not in held]
    return train[:MAX_UNKNOWN], held[:MAX_UNKNOWN]


def add_rewrites(dataset: Dataset, rewrites: Mapping[int, Sequence[Example]]) -> Dataset:
    """The dataset with rewritten phrasings added to the training side of each numbered fact."""
    facts = [
        replace(fact, train=[*fact.train, *rewrites.get(number, ())])
        for number, fact in enumerate(dataset.facts)
    ]
    return replace(dataset, facts=facts)


def add_contexts(dataset: Dataset, contexts: Mapping[str, str]) -> Dataset:
    """The dataset with each question's passages, by the example's key. A rewriting is served like the
    correction that it rewords."""

    def placed(examples: Sequence[Example]) -> list[Example]:
        own = {e.correction_id or "": contexts[e.key] for e in examples if e.key in contexts}
        return [
            replace(e, context=contexts.get(e.key) or own.get(e.correction_id or e.key, "")) for e in examples
        ]

    facts = [replace(fact, train=placed(fact.train), held=placed(fact.held)) for fact in dataset.facts]
    return replace(
        dataset,
        facts=facts,
        unknown_train=placed(dataset.unknown_train),
        unknown_held=placed(dataset.unknown_held),
        contrast=placed(dataset.contrast),
    )


def check_leaks(dataset: Dataset, anchors: Iterable[Example]) -> None:
    """Raises LeakFound when a held-out question is trained on, whatever way it got there."""
    held = {example.key for example in dataset.held}
    leaked = [example.question for example in [*dataset.train, *anchors] if example.key in held]
    if leaked:
        raise LeakFound(f"held-out questions among the training rows: {leaked[:3]}")
