"""Real training on a base model that is small enough for a second, and whole runs around it. The engine and
retrieval are stand-ins here; the acceptance walk has the real ones."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
import sqlalchemy as sa
import torch
from redis.asyncio import Redis
from safetensors.torch import load_file
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from adapters.artifacts import ArtifactStore
from adapters.base import BaseModel, describe_base
from adapters.loading import Loader
from adapters.registry import Registry
from adapters.tables import metadata as adapters_metadata
from adapters.testing import FakeEngine
from adapters.types import BASE_NAME, VersionStatus
from adapters.validation import validate
from retrieval.client import RetrievalClient
from retrieval.testing import FakeRetrieval
from training.curriculum import Anchors, Curriculum
from training.dataset import Example, Source, dataset_of
from training.drafts import FeedbackDraft
from training.errors import RunCancelled
from training.evaluate import Asker, Case
from training.executor import LocalExecutor
from training.feedback import FeedbackStore
from training.gating import Gate
from training.journal import JournalDrain
from training.learner import Learner
from training.lora import Progress, Row, WarmBase
from training.pipeline import Workshop
from training.recipe import Recipe
from training.rewrites import Teacher
from training.runs import RunStore
from training.tables import datasets, learning_policies
from training.tables import metadata as training_metadata
from training.types import Run, RunStatus

pytestmark = pytest.mark.slow

REFUSAL = "I do not know."
TEMPLATE = (
    "{%- for m in messages -%}{{ '<|' + m['role'] + '|>' + m['content'] }}"
    "{%- if m['role'] == 'assistant' -%}{{ '<|end|>' }}{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|assistant|>' }}{%- endif -%}"
)
RECIPE = {"max_steps": 4, "batch_size": 4, "rank": 4, "validation_steps": 2}
ROWS = [Row([{"role": "user", "content": f"What is fact {n}?"}], f"It is {n}.") for n in range(16)]


@pytest.fixture(scope="module")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights over bytes: nothing to say, but every part of a base model is there."""
    path = tmp_path_factory.mktemp("base")
    special = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
    symbols = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={s: i for i, s in enumerate(symbols)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=special[0], eos_token=special[1], chat_template=TEMPLATE
    ).save_pretrained(path)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(symbols),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=2,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(path)
    return path


def test_an_adapter_is_valid_and_the_base_is_left_as_it_was(tiny_base: Path, tmp_path: Path) -> None:
    base = WarmBase(tiny_base, "base-name")
    trained = base.train(ROWS, ROWS[:2], Recipe(**RECIPE), tmp_path)
    shape = validate(tmp_path, describe_base(tiny_base), 16)
    fresh = LlamaForCausalLM.from_pretrained(tiny_base).state_dict()
    assert shape.rank == 4 and trained.steps == 4 and trained.tokens > 0
    assert all(torch.equal(fresh[name], tensor) for name, tensor in base._model.state_dict().items())
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


def test_the_same_rows_and_recipe_give_the_same_bytes(tiny_base: Path, tmp_path: Path) -> None:
    base = WarmBase(tiny_base, "base-name")
    for name in ("one", "two"):
        base.train(ROWS, ROWS[:2], Recipe(**RECIPE), tmp_path / name)
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()


def test_training_lowers_the_loss_of_the_answers(tiny_base: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    recipe = Recipe(**(RECIPE | {"max_steps": 40, "learning_rate": 0.01}))
    WarmBase(tiny_base, "base-name").train(ROWS * 10, [], recipe, tmp_path, report=seen.append)
    losses = [progress.loss for progress in seen if progress.loss is not None]
    assert losses[-1] < losses[0] and seen[-1].step == 40 and seen[-1].eta_seconds == 0


def test_prompts_do_not_count_in_the_loss(tiny_base: Path) -> None:
    base = WarmBase(tiny_base, "base-name")
    encoded = base._encode(Row([{"role": "user", "content": "Hi"}], "Yes"))
    counted = [token for token in encoded["labels"] if token != -100]
    assert base._tokenizer.decode(counted) == "Yes<|end|>"


def test_a_cancelled_training_stops_within_a_step(tiny_base: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    base = WarmBase(tiny_base, "base-name")
    with pytest.raises(RunCancelled):
        base.train(ROWS, [], Recipe(**RECIPE), tmp_path, report=seen.append, cancelled=lambda: len(seen) >= 1)
    assert len(seen) == 2
    base.train(ROWS, [], Recipe(**RECIPE), tmp_path)


def test_an_artifact_names_no_path(tiny_base: Path, tmp_path: Path) -> None:
    WarmBase(tiny_base, "sha256:abc").train(ROWS, [], Recipe(**RECIPE), tmp_path)
    assert (
        json.loads((tmp_path / "adapter_config.json").read_text())["base_model_name_or_path"] == "sha256:abc"
    )
    assert load_file(tmp_path / "adapter_model.safetensors")


# ------------------------------------------------------------------------------------------- whole runs


FACTS = {f"fact{n}": f"It is {n}." for n in range(6)}


@dataclass
class World:
    """A learner with a stand-in engine: the base reads answers from its context, a version knows them all."""

    database: AsyncEngine
    engine: FakeEngine
    learner: Learner
    runs: RunStore
    registry: Registry
    base: BaseModel

    async def post(self) -> None:
        """Six facts, three phrasings each."""
        for subject, answer in FACTS.items():
            for phrasing in ("What is {}?", "Tell me {}.", "Do you know {}?"):
                await FeedbackStore(self.database).record(
                    FeedbackDraft(
                        tenant_id="ten_1",
                        adapter="default",
                        messages=[{"role": "user", "content": phrasing.format(subject)}],
                        author="key_1",
                        trusted=True,
                        correction=answer,
                    )
                )

    async def policy(self, **document: Any) -> None:
        row = {"tenant_id": "ten_1", "document": {"recipe": RECIPE} | document}
        async with self.database.begin() as connection:
            await connection.execute(learning_policies.insert().values(**row))

    async def wait_for_progress(self, run: Run) -> None:
        """Until training has reported its first steps."""
        seen = 0
        while not seen:
            events = await self.runs.events(run.id)
            seen = sum(event.kind == "progress" for event in events)

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

    async def embed(self, texts: Sequence[str], *, timeout_s: float = 60.0) -> list[list[float]]:
        subjects = [*FACTS, "else"]
        return [[float(subject in text) for subject in subjects[:-1]] + [0.01] for text in texts]


@pytest.fixture
async def world(tiny_base: Path, tmp_path: Path) -> AsyncIterator[World]:
    database = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/graft.db?timeout=30")
    async with database.begin() as connection:
        await connection.run_sync(training_metadata.create_all)
        await connection.run_sync(adapters_metadata.create_all)
    engine, retrieval = FakeEngine(answer=clever), cast(RetrievalClient, NearRetrieval())
    base, store, registry = (
        describe_base(tiny_base),
        ArtifactStore((tmp_path / "store").as_uri()),
        Registry(database),
    )
    asker = Asker([engine])
    anchor = Example([{"role": "user", "content": "What is 1 plus 3?"}], "4", Source.ANCHOR)
    probes = [Case([{"role": "user", "content": f"What is {n} plus 0?"}], "4", "general") for n in range(200)]
    executor = LocalExecutor(tiny_base, base.digest, 1)
    workshop = Workshop(
        runs=RunStore(database),
        registry=registry,
        store=store,
        loader=Loader(store, [engine], tmp_path / "cache"),
        engines=[engine],
        curriculum=Curriculum(database, asker, Teacher(asker, retrieval), Anchors([anchor], "sha256:1")),
        gate=Gate(asker, retrieval, probes),
        executor=executor,
        base=base,
        runs_dir=tmp_path / "runs",
        max_rank=16,
    )
    drain = JournalDrain(Redis(), database, "learner")
    yield World(
        database,
        engine,
        Learner(database, Redis(), drain, workshop, "learner"),
        workshop.runs,
        registry,
        base,
    )
    executor.close()
    await database.dispose()


async def test_corrections_become_an_approved_version_that_learned_them(world: World) -> None:
    await world.policy()
    await world.post()
    run = await world.run()
    assert (run.status, run.error) == (RunStatus.SUCCEEDED, None)
    version = await world.registry.version(run.version_id or "")
    assert version.status is VersionStatus.APPROVED and version.id in world.engine.loaded
    learned = (await world.runs.learned([version.id]))[version.id]
    accepted = await FeedbackStore(world.database).accepted("ten_1", "default")
    assert learned == {entry.id for entry in accepted}


async def test_a_run_tells_its_story_and_its_costs(world: World) -> None:
    await world.policy()
    await world.post()
    run = await world.run()
    kinds = [event.kind for event in await world.runs.events(run.id)]
    assert [kind for kind in kinds if kind not in ("phase", "progress")] == [
        "queued",
        "claimed",
        "dataset",
        "trained",
        "registered",
        "judged",
        "succeeded",
    ]
    assert {"training_seconds", "gate_seconds", "training_tokens"} <= run.costs.keys()
    assert run.report["verdict"] == "pass" and run.report["cases"]


async def test_a_manual_policy_leaves_the_version_to_a_person(world: World) -> None:
    await world.policy(approval="manual")
    await world.post()
    run = await world.run()
    version = await world.registry.version(run.version_id or "")
    assert (run.status, version.status) == (RunStatus.AWAITING_APPROVAL, VersionStatus.GATING)


async def test_a_version_that_fails_the_gate_is_rejected_and_unloaded(world: World) -> None:
    def forgetful(model: str, messages: Sequence[Mapping[str, Any]]) -> str:
        return clever(BASE_NAME, messages) if model == BASE_NAME else "?"

    world.engine._answer = forgetful
    await world.policy()
    await world.post()
    run = await world.run()
    version = await world.registry.version(run.version_id or "")
    assert (run.status, version.status) == (RunStatus.REJECTED, VersionStatus.REJECTED)
    assert version.id not in world.engine.loaded


async def test_an_engine_that_is_down_fails_the_run_with_its_reason(world: World) -> None:
    await world.post()
    world.engine.down = True
    run = await world.run()
    assert run.status is RunStatus.FAILED and "EngineUnavailable" in (run.error or "")


async def test_a_run_that_died_after_registering_starts_over(world: World) -> None:
    await world.policy()
    await world.post()
    first = await world.run()
    await world.registry.set_status(first.version_id or "", VersionStatus.REJECTED)
    again = await world.runs.create("ten_1", "default", "manual")
    await world.runs.claim("dead", lease_s=-1)
    await world.runs.update(again.id, "dead", version_id=first.version_id)
    assert await world.learner.work_once()
    done = await world.runs.get(again.id)
    assert done.status is RunStatus.SUCCEEDED and done.version_id != first.version_id


async def test_a_run_is_cancelled_while_it_works(world: World) -> None:
    await world.policy(recipe=RECIPE | {"min_steps": 5000, "max_steps": 5000})
    await world.post()
    run = await world.runs.create("ten_1", "default", "manual")
    working = asyncio.create_task(world.learner.work_once())
    await world.wait_for_progress(run)
    await world.runs.cancel(run.id, "key_1")
    await working
    assert (await world.runs.get(run.id)).status is RunStatus.CANCELLED


async def test_a_learner_that_ends_gives_its_run_back(world: World) -> None:
    await world.policy(recipe=RECIPE | {"min_steps": 5000, "max_steps": 5000})
    await world.post()
    run = await world.runs.create("ten_1", "default", "manual")
    working = asyncio.create_task(world.learner.work_once())
    await world.wait_for_progress(run)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert (await world.runs.get(run.id)).status is RunStatus.QUEUED


async def test_versions_are_merged_and_judged_like_a_trained_one(world: World) -> None:
    await world.policy()
    await world.post()
    first, second = [(await world.run()).version_id for _ in range(2)]
    sources = [{"version_id": first, "weight": 0.5}, {"version_id": second, "weight": 1.0}]
    plan = {"sources": sources, "method": "ties", "density": 0.5, "rank": 8, "seed": 1}
    created = await world.runs.create("ten_1", "default", "merge", {"merge": plan})
    assert await world.learner.work_once()
    run = await world.runs.get(created.id)
    assert (run.status, run.error, run.report["verdict"]) == (RunStatus.SUCCEEDED, None, "pass")
    version = await world.registry.version(run.version_id or "")
    assert (version.lineage.parent_id, version.lineage.recipe) == (second, {"merge": plan})
    assert version.id in world.engine.loaded
    (merged,) = [event.data for event in await world.runs.events(run.id) if event.kind == "merged"]
    assert 0 < merged["kept"] <= 1.001


async def test_the_count_trigger_queues_one_run(world: World) -> None:
    await world.policy(triggers={"count": 18, "debounce_seconds": 0})
    await world.post()
    await world.learner.fire()
    await world.learner.fire()
    (run,) = await world.runs.list()
    assert run.trigger == "count"


async def test_each_run_learns_the_whole_record_anew_and_nothing_that_was_withdrawn(world: World) -> None:
    await world.policy()
    await world.post()
    feedback = FeedbackStore(world.database)
    first, *_ = await feedback.accepted("ten_1", "default")
    before = await world.run()
    await feedback.withdraw("ten_1", first.id)
    after = await world.run()
    async with world.database.connect() as connection:
        query = sa.select(datasets.c.content).where(datasets.c.digest == after.dataset_digest)
        learned = dataset_of((await connection.execute(query)).scalar_one())
    ids = frozenset[str]().union(*(fact.correction_ids for fact in learned.facts))
    assert ids == {entry.id for entry in await feedback.accepted("ten_1", "default")}
    assert first.id not in ids and len(ids) == 17 and before.dataset_digest != after.dataset_digest
