"""Real training on a base model that is small enough for a second, and whole runs around it. The engine and
retrieval are stand-ins here; the acceptance walk has the real ones."""

import asyncio
import errno
import json
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from adapters.base import describe_base
from adapters.testing import FakeEngine
from adapters.types import BASE_NAME, Lineage, VersionStatus
from adapters.validation import validate
from tests.integration.learner_house import RECIPE, World, clever, open_world
from tests.integration.random_adapters import write_adapter
from training import checkpoints
from training.corrections import functions_of
from training.dataset import dataset_of
from training.errors import RunStopped
from training.executor import LocalExecutor
from training.feedback import FeedbackStore
from training.lora import Row, Trained, WarmBase
from training.packed import PackedTrainer
from training.recipe import Recipe
from training.tables import datasets
from training.trouble import RETRY_SECONDS
from training.types import RunStatus
from training.watch import Progress

pytestmark = pytest.mark.slow

TEMPLATE = (
    "{%- for m in messages -%}{{ '<|' + m['role'] + '|>' + m['content'] }}"
    "{%- if m['role'] == 'assistant' -%}{{ '<|end|>' }}{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|assistant|>' }}{%- endif -%}"
)
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


def test_a_prompt_shows_the_functions_that_its_request_offered_as_the_engine_shows_them(
    tiny_base: Path,
) -> None:
    base = WarmBase(tiny_base, "base-name")
    base._tokenizer.chat_template = (
        "{%- for tool in tools or [] -%}{{ tool['function'] | tojson }}{%- endfor -%}" + TEMPLATE
    )
    tools = functions_of([{"type": "function", "name": "look_up", "parameters": {"type": "object"}}])
    asked, call = [{"role": "user", "content": "Hi"}], '<tool_call>\n{"name":"look_up"}\n</tool_call>'
    rows = [base._encode(row) for row in (Row(asked, call, tools), Row(asked, call))]
    prompts = [
        base._tokenizer.decode(
            [t for t, label in zip(row["input_ids"], row["labels"], strict=True) if label == -100]
        )
        for row in rows
    ]
    shown = '{"name": "look_up", "description": null, "parameters": {"type": "object"}}'
    assert prompts == [f"{shown}<|user|>Hi<|assistant|>", "<|user|>Hi<|assistant|>"]
    assert rows[0]["labels"][-10:] == rows[1]["labels"][-10:]


def test_a_cancelled_training_stops_within_a_step(tiny_base: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    base = WarmBase(tiny_base, "base-name")
    with pytest.raises(RunStopped):
        base.train(ROWS, [], Recipe(**RECIPE), tmp_path, report=seen.append, stopped=lambda: len(seen) >= 1)
    assert len(seen) == 1
    base.train(ROWS, [], Recipe(**RECIPE), tmp_path)


@pytest.mark.parametrize("step", range(1, 6))
def test_a_training_that_was_interrupted_goes_on_to_the_same_bytes(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """With a rate at which validation improves and worsens, so that the best weights matter."""
    monkeypatch.setattr(checkpoints, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "SHARE", 1e9)
    recipe = Recipe(
        **(
            RECIPE
            | {"max_steps": 7, "learning_rate": 0.05, "validation_steps": 1, "warmup_steps": 2, "patience": 9}
        )
    )
    base, checkpoint = WarmBase(tiny_base, "base-name"), tmp_path / "checkpoint.safetensors"
    rows, seen = ROWS * 2, list[Progress]()
    whole = base.train(rows, ROWS[:2], recipe, tmp_path / "whole")

    class Crash(Exception):
        pass

    def crash(progress: Progress) -> None:
        if progress.step == step + 1:
            raise Crash

    with pytest.raises(Crash):
        base.train(rows, ROWS[:2], recipe, tmp_path / "parted", report=crash, checkpoint=checkpoint)
    torch.manual_seed(99)
    parted = base.train(
        rows, ROWS[:2], recipe, tmp_path / "parted", report=seen.append, checkpoint=checkpoint
    )
    assert seen[0].step == step + 1
    assert _said(parted) == _said(whole)
    for file in (tmp_path / "whole").iterdir():
        assert file.read_bytes() == (tmp_path / "parted" / file.name).read_bytes()


def _said(trained: Trained) -> tuple[object, ...]:
    return trained.steps, trained.tokens, trained.loss, trained.validation_loss


def test_a_checkpoint_of_other_rows_is_not_used(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "LEAST_SECONDS", 0.0)
    base, checkpoint, seen = WarmBase(tiny_base, "base-name"), tmp_path / "checkpoint", list[Progress]()
    base.train(ROWS, [], Recipe(**RECIPE), tmp_path / "one", checkpoint=checkpoint)
    base.train(ROWS[::-1], [], Recipe(**RECIPE), tmp_path / "two", report=seen.append, checkpoint=checkpoint)
    assert checkpoint.is_file() and seen[0].step == 1


def test_a_base_in_bfloat16_trains_an_adapter_in_float32(tiny_base: Path, tmp_path: Path) -> None:
    WarmBase(tiny_base, "base-name", dtype="bfloat16").train(ROWS, [], Recipe(**RECIPE), tmp_path)
    assert {tensor.dtype for tensor in load_file(tmp_path / "adapter_model.safetensors").values()} == {
        torch.float32
    }
    assert validate(tmp_path, describe_base(tiny_base), 16).rank == 4


def test_an_artifact_names_no_path(tiny_base: Path, tmp_path: Path) -> None:
    WarmBase(tiny_base, "sha256:abc").train(ROWS, [], Recipe(**RECIPE), tmp_path)
    assert (
        json.loads((tmp_path / "adapter_config.json").read_text())["base_model_name_or_path"] == "sha256:abc"
    )
    assert load_file(tmp_path / "adapter_model.safetensors")


# ------------------------------------------------------------------------------------------- whole runs


@pytest.fixture
async def world(tiny_base: Path, tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path, tiny_base) as opened:
        yield opened


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


@pytest.mark.parametrize(
    ("before", "after", "status"),
    [("auto", "manual", RunStatus.AWAITING_APPROVAL), ("manual", "auto", RunStatus.SUCCEEDED)],
)
async def test_an_approval_that_changes_during_a_run_counts_for_its_version(
    world: World, monkeypatch: pytest.MonkeyPatch, before: str, after: str, status: RunStatus
) -> None:
    judge = world.shop.gate.judge

    async def judged(*arguments: Any) -> Any:
        await world.policy(approval=after)
        return await judge(*arguments)

    monkeypatch.setattr(world.shop.gate, "judge", judged)
    await world.policy(approval=before)
    await world.post()
    assert (await world.run()).status is status


async def test_a_run_keeps_the_recipe_and_the_gate_that_it_was_taken_up_with(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = world.shop.curriculum.build

    async def built(*arguments: Any) -> Any:
        await world.policy(recipe=RECIPE | {"max_steps": 2}, gate={"significance": 1e-9})
        return await build(*arguments)

    monkeypatch.setattr(world.shop.curriculum, "build", built)
    await world.policy()
    await world.post()
    kept, later = await world.run(), await world.run()
    versions = [await world.registry.version(run.version_id or "") for run in (kept, later)]
    assert [version.lineage.recipe["max_steps"] for version in versions] == [4, 2]
    assert [run.report["verdict"] for run in (kept, later)] == ["pass", "inconclusive"]


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


async def test_a_run_waits_for_an_engine_that_is_down_and_fails_in_the_end(world: World) -> None:
    await world.post()
    world.engine.down = True
    run = await world.run()
    assert run.status is RunStatus.QUEUED and "EngineUnavailable" in (run.error or "") and run.not_before
    while run.status is RunStatus.QUEUED:
        await world.due(run)
        assert await world.learner.work_once()
        run = await world.runs.get(run.id)
    assert run.status is RunStatus.FAILED and "EngineUnavailable" in (run.error or "")
    assert run.attempts == len(RETRY_SECONDS)


@dataclass
class Stuck:
    """A run that has come to a phase and does not go on by itself."""

    there: threading.Event = field(default_factory=threading.Event)
    freed: threading.Event = field(default_factory=threading.Event)

    def asking(self, engine: FakeEngine, phase: str) -> None:
        """In what it asks the engine in this phase."""
        chat = engine.chat

        async def stuck(model: str, *arguments: Any, **named: Any) -> Any:
            asked_in = "dataset" if model == BASE_NAME else "load" if "top_logprobs" in named else "gate"
            while asked_in == phase and not self.freed.is_set():
                self.there.set()
                await asyncio.sleep(0.01)
            return await chat(model, *arguments, **named)

        engine.chat = stuck  # type: ignore[method-assign]

    def training(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """In the middle of its second step."""
        step, begun = PackedTrainer.training_step, list[None]()

        def stuck(*arguments: Any, **named: Any) -> Any:
            begun.append(None)
            if len(begun) == 2:
                self.there.set()
                assert self.freed.wait(60)
            return step(*arguments, **named)

        monkeypatch.setattr(PackedTrainer, "training_step", stuck)


@pytest.mark.parametrize("phase", ["dataset", "training", "load", "gate"])
async def test_a_cancelled_run_is_let_go_of_within_five_seconds_wherever_it_stands_and_leaves_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    """Also in a step of training that takes longer: the next training begins when that is over."""
    stuck = Stuck()
    if phase == "training":
        stuck.training(monkeypatch)
    else:
        stuck.asking(world.engine, phase)
    await world.policy()
    await world.post()
    run = await world.runs.create("ten_1", "default", "manual")
    working = asyncio.create_task(world.learner.work_once())
    assert await asyncio.to_thread(stuck.there.wait, 60)
    assert (await world.runs.get(run.id)).phase == phase
    async with asyncio.timeout(5):
        await world.runs.cancel(run.id, "key_1")
        assert (await world.runs.get(run.id)).status is RunStatus.CANCELLED
        await working
    assert not list(world.shop.runs_dir.glob("*")) and not world.engine.loaded
    versions = await world.registry.versions("ten_1", "default")
    assert {version.status for version in versions} <= {VersionStatus.REJECTED}

    following = asyncio.create_task(world.run())
    asyncio.get_running_loop().call_later(0.2, stuck.freed.set)
    assert (await following).status is RunStatus.SUCCEEDED
    assert (await world.runs.get(run.id)).status is RunStatus.CANCELLED


async def test_a_run_that_has_ended_leaves_nothing_under_way(world: World) -> None:
    """What still held a connection to the record when that is closed would wait for ever."""
    await world.policy()
    await world.post()
    await world.runs.create("ten_1", "default", "manual")
    assert await world.learner.work_once()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_full_disk_is_reported_and_the_run_goes_on_when_there_is_room(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    await world.policy()
    await world.post()
    with monkeypatch.context() as patched:
        patched.setattr(world.shop.store, "_put", full)
        run = await world.run()
    assert run.status is RunStatus.QUEUED and (run.error or "").startswith("DiskFull") and run.attempts == 1
    assert not await world.learner.work_once(), "it waits for its time"
    await world.due(run)
    assert await world.learner.work_once()
    assert (await world.runs.get(run.id)).status is RunStatus.SUCCEEDED


async def test_a_recipe_that_cannot_fit_is_refused_before_anything_is_done(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.executor.free_memory", lambda share: 100 * 2**20)
    await world.policy()
    await world.post()
    run = await world.run()
    assert run.status is RunStatus.FAILED and (run.error or "").startswith("DoesNotFit: training would take")
    assert run.dataset_digest is None


@pytest.mark.parametrize(
    ("words", "status"), [(1, RunStatus.SUCCEEDED), (300, RunStatus.FAILED)], ids=["usual", "long"]
)
async def test_rows_that_are_too_long_to_fit_are_refused_once_they_are_there(
    world: World, monkeypatch: pytest.MonkeyPatch, words: int, status: RunStatus
) -> None:
    executor = world.shop.executor
    assert isinstance(executor, LocalExecutor)
    enough = executor._estimate(Recipe(**RECIPE)).beside_base
    monkeypatch.setattr("training.executor.free_memory", lambda share: enough)
    await world.policy()
    await world.post(before="please " * words)
    run = await world.run()
    assert (run.status, run.error is None) == (status, status is RunStatus.SUCCEEDED)
    if run.error:
        assert run.error.startswith("DoesNotFit: training would take") and run.dataset_digest


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
    trained = [await world.run() for _ in range(2)]
    first, second = [run.version_id for run in trained]
    sources = [{"version_id": first, "weight": 0.5}, {"version_id": second, "weight": 1.0}]
    plan = {"sources": sources, "method": "ties", "density": 0.5, "rank": 8, "seed": 1}
    created = await world.runs.create("ten_1", "default", "merge", {"merge": plan})
    assert await world.learner.work_once()
    run = await world.runs.get(created.id)
    assert (run.status, run.error, run.report["verdict"]) == (RunStatus.SUCCEEDED, None, "pass")
    version = await world.registry.version(run.version_id or "")
    base = world.shop.base.digest
    assert version.lineage == Lineage(base, {"merge": plan}, run.dataset_digest, second, run.id)
    of_trained = (await world.registry.version(second or "")).lineage
    assert of_trained == Lineage(base, trained[1].recipe, trained[1].dataset_digest, None, trained[1].id)
    assert run.dataset_digest and of_trained.dataset_digest and of_trained.recipe["max_steps"] == 4
    for judged in (of_trained, version.lineage):
        gate = await world.runs.gate(judged.run_id)
        assert gate and gate["verdict"] == "pass" and gate["checks"]
    assert version.id in world.engine.loaded
    (merged,) = [event.data for event in await world.runs.events(run.id) if event.kind == "merged"]
    assert 0 < merged["kept"] <= 1.001


async def test_a_merge_for_which_nothing_was_corrected_is_judged_by_the_probes_and_waits_for_a_person(
    world: World, tmp_path: Path
) -> None:
    base = world.shop.base
    await world.registry.ensure_adapter("ten_1", "default", base.digest)
    sources = []
    for seed in range(2):
        artifact = await world.shop.store.put(write_adapter(tmp_path / str(seed), base, seed, rank=4))
        made = await world.registry.register("ten_1", "default", artifact.digest, Lineage(base.digest), {})
        sources.append({"version_id": made.id, "weight": 0.5})
    plan = {"sources": sources, "method": "linear", "density": 0.5, "rank": 8, "seed": 0}
    created = await world.runs.create("ten_1", "default", "merge", {"merge": plan})
    assert await world.learner.work_once()
    run = await world.runs.get(created.id)
    assert (run.status, run.error) == (RunStatus.AWAITING_APPROVAL, None)
    (probes,) = [check for check in run.report["checks"] if check["name"] == "base probes"]
    assert probes["numbers"]["cases"] == 200


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
