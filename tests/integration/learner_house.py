"""A learner of real parts around a stand-in engine and stand-in retrieval: what runs are tried on, also in a process
of their own that is killed."""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa
from fsspec.implementations.local import LocalFileSystem
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.artifacts import ArtifactStore
from adapters.base import describe_base
from adapters.database import connect
from adapters.loading import Loader
from adapters.registry import Registry
from adapters.testing import FakeEngine
from adapters.types import BASE_NAME
from gateway import migrate
from retrieval.client import RetrievalClient
from retrieval.testing import FakeRetrieval
from retrieval.types import Embedded
from training import checkpoints, executor, learner
from training.curriculum import Anchors, Curriculum
from training.dataset import Example, Source
from training.drafts import FeedbackDraft
from training.evaluate import Asker, Case
from training.executor import LocalExecutor
from training.feedback import FeedbackStore
from training.gating import Gate
from training.journal_drain import JournalDrain
from training.learner import Learner
from training.packed import PackedTrainer
from training.pipeline import RunWork
from training.policies import read_policy
from training.rewrites import Teacher
from training.runs import RunStore
from training.tables import learning_policies, runs
from training.types import Run
from training.watch import Progress
from training.workshop import Workshop

REFUSAL = "I do not know."
RECIPE = {"max_steps": 4, "batch_size": 4, "rank": 4, "validation_steps": 2}
FACTS = {f"fact{n}": f"It is {n}." for n in range(6)}


@dataclass
class World:
    """A learner with a stand-in engine: the base reads answers from its context, a version knows them all."""

    database: AsyncEngine
    engine: FakeEngine
    learner: Learner
    shop: Workshop

    @property
    def runs(self) -> RunStore:
        return self.shop.runs

    @property
    def registry(self) -> Registry:
        return self.shop.registry

    async def post(self, tenant: str = "ten_1", before: str = "") -> None:
        """Six facts, three phrasings each. before: what each begins with."""
        for subject, answer in FACTS.items():
            for phrasing in ("What is {}?", "Tell me {}.", "Do you know {}?"):
                await FeedbackStore(self.database).record(
                    FeedbackDraft(
                        tenant_id=tenant,
                        adapter="default",
                        messages=[{"role": "user", "content": before + phrasing.format(subject)}],
                        author="key_1",
                        trusted=True,
                        correction=answer,
                    )
                )

    async def policy(self, **document: Any) -> None:
        row = {"tenant_id": "ten_1", "document": {"recipe": RECIPE} | document}
        async with self.database.begin() as connection:
            await connection.execute(learning_policies.delete())
            await connection.execute(learning_policies.insert().values(**row))

    async def wait_for_progress(self, run: Run) -> None:
        """Until training has reported its first steps."""
        seen = 0
        while not seen:
            events = await self.runs.events(run.id)
            seen = sum(event.kind == "progress" for event in events)

    async def due(self, run: Run) -> None:
        """As if the pause before another attempt were over."""
        async with self.database.begin() as connection:
            past = sa.update(runs).where(runs.c.id == run.id).values(not_before=datetime.now(UTC))
            await connection.execute(past)

    async def run(self) -> Run:
        created = await self.runs.create("ten_1", "default", "manual")
        assert await self.learner.work_once()
        return await self.runs.get(created.id)


def clever(model: str, messages: Sequence[Mapping[str, Any]]) -> str:
    """The base answers from its context, rewrites on request; a version knows the facts by heart."""
    question = str(messages[-1]["content"])
    if question.startswith("Rewrite this question: "):
        return "Please, " + question.removeprefix("Rewrite this question: ")
    context = str(messages[0]["content"]) if len(messages) > 1 else ""
    for subject, answer in FACTS.items():
        if subject in question and (model != BASE_NAME or answer in context):
            return answer
    return "4" if "plus" in question else REFUSAL


class NearRetrieval(FakeRetrieval):
    """Questions about one subject are near each other."""

    async def embed(self, texts: Sequence[str], *, timeout_s: float = 60.0) -> Embedded:
        subjects = [*FACTS, "else"]
        rows = [[float(subject in text) for subject in subjects[:-1]] + [0.01] for text in texts]
        return Embedded(rows, 0)


@asynccontextmanager
async def open_world(directory: Path, base_path: Path, owner: str = "learner") -> AsyncIterator[World]:
    """Over the record, the artifacts and the runs below `directory`, made where they are missing."""
    url = f"sqlite+aiosqlite:///{directory}/graft.db?timeout=30"
    await migrate.upgrade(url)
    database = connect(url)
    base, store = describe_base(base_path), ArtifactStore((directory / "store").as_uri())
    engine = FakeEngine(answer=clever, base_digest=base.digest)
    retrieval = cast(RetrievalClient, NearRetrieval())
    asker = Asker([engine])
    anchor = Example([{"role": "user", "content": "What is 1 plus 3?"}], "4", Source.ANCHOR)
    probes = [Case([{"role": "user", "content": f"What is {n} plus 0?"}], "4", "general") for n in range(200)]
    executor = LocalExecutor(base, 1)
    shop = Workshop(
        runs=RunStore(database),
        registry=Registry(database),
        store=store,
        loader=Loader(store, [engine], directory / "cache"),
        engines=[engine],
        curriculum=Curriculum(database, asker, Teacher(asker, retrieval), Anchors([anchor], "sha256:1")),
        gate=Gate(asker, retrieval, probes),
        executor=executor,
        base=base,
        runs_dir=directory / "runs",
        max_rank=16,
        policy=partial(read_policy, database),
    )
    drain = JournalDrain(Redis(), database, owner)
    yield World(database, engine, Learner(database, Redis(), drain, shop, owner), shop)
    await asyncio.to_thread(executor.close)
    await database.dispose()


# ------------------------------------------------------------------------------ learners that are told to end, or die


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _before(owner: Any, name: str, calls: int = 1) -> None:
    """Die when `owner.name` is called for the `calls`-th time."""
    original, count = getattr(owner, name), [0]

    def deadly(*arguments: Any, **named: Any) -> Any:
        count[0] += 1
        if count[0] == calls:
            _die()
        return original(*arguments, **named)

    setattr(owner, name, deadly)


def _after(owner: Any, name: str) -> None:
    """Die when the coroutine `owner.name` has done its work, before anybody hears of it."""
    original = getattr(owner, name)

    async def deadly(*arguments: Any, **named: Any) -> None:
        await original(*arguments, **named)
        _die()

    setattr(owner, name, deadly)


def _at_step(number: int) -> None:
    def deadly(_work: RunWork, progress: Progress) -> None:
        if progress.step == number:
            _die()

    RunWork._reported = deadly  # type: ignore[method-assign, assignment]


DEATHS: Mapping[str, Callable[[], None]] = {
    "before the dataset": lambda: _before(Curriculum, "build"),
    "the dataset is stored": lambda: _after(Curriculum, "build"),
    "before the first step": lambda: _before(LocalExecutor, "train"),
    "the first step": lambda: _at_step(1),
    "a step between two looks": lambda: _at_step(3),
    "a checkpoint half written": lambda: _before(checkpoints, "_sync", 3),
    "a checkpoint replaced": lambda: _before(checkpoints, "_sync", 4),
    "the last step": lambda: _at_step(4),
    "training is done": lambda: _after(LocalExecutor, "train"),
    "an artifact without its manifest": lambda: _before(LocalFileSystem, "pipe_file"),
    "the artifact is stored": lambda: _after(ArtifactStore, "put"),
    "the version is registered": lambda: _after(Registry, "register"),
    "the version is loaded": lambda: _after(Loader, "load"),
    "the gate has judged": lambda: _after(Gate, "judge"),
    "the report is written": lambda: _before(RunStore, "add_learned"),
    "what it learned is written": lambda: _after(RunStore, "add_learned"),
    "before the end is written": lambda: _before(RunStore, "finish"),
}
"""Where a learner dies, one boundary after another."""


def die_at(where: str, directory: str, base_path: str, lease_s: float) -> None:
    """In a process of its own: take the run that waits and die. There is a checkpoint at every step."""
    learner.LEASE_SECONDS = lease_s
    checkpoints.LEAST_SECONDS, checkpoints.SHARE = 0.0, 1e9

    async def work() -> None:
        async with open_world(Path(directory), Path(base_path), "mortal") as world:
            await world.shop.executor.warm()
            DEATHS[where]()
            await world.learner.work_once()

    asyncio.run(work())


def told_in_step(number: int, directory: str, base_path: str, inside: Event) -> None:
    """In a process of its own: the learner until SIGTERM. It is `inside` this training step until it has been told."""
    pause, step, told, begun = RunWork.pause, PackedTrainer.training_step, threading.Event(), [0]

    def pausing(work: RunWork) -> None:
        pause(work)
        told.set()

    def stepping(*arguments: Any, **named: Any) -> Any:
        begun[0] += 1
        if begun[0] == number:
            inside.set()
            assert told.wait(60)
        return step(*arguments, **named)

    RunWork.pause = pausing  # type: ignore[method-assign, assignment]
    PackedTrainer.training_step = stepping  # type: ignore[method-assign]

    async def work() -> None:
        async with open_world(Path(directory), Path(base_path), "told") as world:
            await learner.until_told(world.learner)

    asyncio.run(work())


# ---------------------------------------------------------------------------------------- a learner as a process


async def work(directory: Path, base_path: Path) -> None:
    """Take up run after run. The file `warm` says that the base model is loaded. Nobody asks what is free: a run may
    need more."""
    executor.free_memory = lambda gpu_share=1.0: sys.maxsize  # type: ignore[attr-defined]
    async with open_world(directory, base_path, f"learner {os.getpid()}") as world:
        await world.shop.executor.warm()
        (directory / "warm").touch()
        while True:
            await world.learner.work_once()
            await asyncio.sleep(learner.CLAIM_SECONDS)


if __name__ == "__main__":
    asyncio.run(work(*map(Path, sys.argv[1:])))
