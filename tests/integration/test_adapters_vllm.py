"""The engine port and the probe against a real vLLM, with adapters of random weights."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from adapters.artifacts import ArtifactStore
from adapters.base import BaseModel
from adapters.engine import Completion
from adapters.errors import EngineRefused, ProbeFailed
from adapters.loading import Loader
from adapters.validation import validate
from adapters.vllm import VllmEngine
from deploy.demo.serving import RunningEngine
from deploy.demo.serving import engine as serve
from tests.integration.random_adapters import Write, write_adapter
from training.corrections import functions_of

pytestmark = pytest.mark.slow

RANK = 8


async def ask(engine: VllmEngine, model: str, text: str, tokens: int = 8) -> Completion:
    return await engine.chat(model, [{"role": "user", "content": text}], tokens, top_logprobs=3)


async def test_a_loaded_version_is_listed_answers_and_goes_again(vllm: VllmEngine, write: Write) -> None:
    await vllm.load("ver_life", write(1))
    assert await vllm.resident() == {"ver_life"}
    assert (await ask(vllm, "ver_life", "Hello")).completion_tokens > 0
    await vllm.unload("ver_life")
    assert await vllm.resident() == frozenset()
    with pytest.raises(EngineRefused) as caught:
        await ask(vllm, "ver_life", "Hello")
    assert caught.value.status == 404


async def test_loading_and_unloading_twice_are_no_errors(vllm: VllmEngine, write: Write) -> None:
    directory = write(1)
    for _ in range(2):
        await vllm.load("ver_twice", directory)
    for _ in range(2):
        await vllm.unload("ver_twice")


async def test_an_answer_that_has_begun_ends_although_its_version_is_unloaded(
    vllm: VllmEngine, engine: RunningEngine, write: Write
) -> None:
    await vllm.load("ver_stream", write(1))
    body = {
        "model": "ver_stream",
        "messages": [{"role": "user", "content": "Tell me a long story."}],
        "max_tokens": 64,
        "min_tokens": 64,
        "stream": True,
    }
    headers = {"authorization": f"Bearer {engine.token}"}
    url = f"{engine.url}/v1/chat/completions"
    async with (
        httpx.AsyncClient(trust_env=False, timeout=60) as http,
        http.stream("POST", url, json=body, headers=headers) as response,
    ):
        lines = response.aiter_lines()
        assert (await anext(lines)).startswith("data: ")
        await vllm.unload("ver_stream")
        rest = [line async for line in lines if line]
    assert rest[-1] == "data: [DONE]"
    assert not any("error" in line for line in rest)


def _of_rank(directory: Path, base: BaseModel) -> Path:
    return write_adapter(directory, base, 1, rank=64)


def _with_dora(directory: Path, base: BaseModel) -> Path:
    config = write_adapter(directory, base, 1) / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"use_dora": True}))
    return directory


def _nowhere(directory: Path, _: BaseModel) -> Path:
    return directory


@pytest.mark.parametrize(("made", "status"), [(_nowhere, 404), (_of_rank, 500), (_with_dora, 500)])
async def test_what_the_engine_cannot_load_is_refused_and_it_goes_on(
    vllm: VllmEngine, base: BaseModel, tmp_path: Path, made: Callable[[Path, BaseModel], Path], status: int
) -> None:
    """By the statuses that tell a version that is at fault from an engine that does not find it."""
    with pytest.raises(EngineRefused) as caught:
        await vllm.load("ver_unloadable", made(tmp_path / "adapter", base))
    assert caught.value.status == status
    assert await vllm.healthy() and await vllm.resident() == frozenset()


async def test_first_tokens_are_told_by_their_ids(vllm: VllmEngine) -> None:
    told = (await ask(vllm, "base", "Hello", 1)).first_token_logprobs
    assert told and len(told) == 3 and all(token.startswith("token_id:") for token in told)


@pytest.mark.long
async def test_a_short_question_may_be_the_first_that_an_engine_hears(base_model: Path) -> None:
    with serve(base_model) as fresh:
        async with httpx.AsyncClient(trust_env=False) as http:
            assert (
                await ask(VllmEngine(fresh.url, fresh.token, http), "base", "Hello", 1)
            ).completion_tokens == 1


async def test_a_wrong_token_is_refused(engine: RunningEngine) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        with pytest.raises(EngineRefused):
            await VllmEngine(engine.url, "wrong", http).resident()


async def test_several_choices_are_sampled_and_repeatable(vllm: VllmEngine) -> None:
    messages = [{"role": "user", "content": "Tell me something."}]
    once, again = [await vllm.chat("base", messages, 8, temperature=1.0, n=4, seed=7) for _ in range(2)]
    assert len(once.texts) == 4
    assert once.texts == again.texts


async def test_functions_are_offered_and_the_answer_is_text(vllm: VllmEngine) -> None:
    tools = functions_of([{"type": "function", "name": "look_up", "parameters": {"type": "object"}}])
    asked = [{"role": "user", "content": "What is 2 plus 2?"}]
    answer = await vllm.chat("base", asked, 8, tools=tools)
    assert answer.texts == (await vllm.chat("base", asked, 8)).texts  # the shipped chat template shows none
    assert answer.texts[0]


async def test_the_probe_passes_an_adapter_and_finds_one_without_effect(
    vllm: VllmEngine, write: Write, tmp_path: Path
) -> None:
    loader = Loader(ArtifactStore((tmp_path / "store").as_uri()), [vllm], tmp_path / "cache")
    await vllm.load("ver_acts", write(1))
    await vllm.load("ver_idle", write(2, strength=0.0))
    await loader.probe("ver_acts", [vllm])
    with pytest.raises(ProbeFailed, match="exactly like the base"):
        await loader.probe("ver_idle", [vllm])


async def test_with_every_slot_filled_the_base_model_answers_in_mixed_batches_as_alone(
    vllm: VllmEngine, write: Write
) -> None:
    """vLLM's CPU kernels would answer with the adapter in the last slot; our plugin in the engine prevents it."""
    names = [f"ver_slot{i}" for i in range(6)]
    for i, name in enumerate(names):
        await vllm.load(name, write(i))
    questions = [f"What is the price of plan number {i}?" for i in range(8)]
    alone = [(await ask(vllm, "base", question)).texts for question in questions]
    neighbours = [ask(vllm, name, f"Hello {i}", 32) for i, name in enumerate(names[-3:] * 3)]
    mixed = [ask(vllm, "base", question) for question in questions]
    answers = (await asyncio.gather(*neighbours, *mixed))[len(neighbours) :]
    assert [answer.texts for answer in answers] == alone


def test_what_peft_writes_is_valid(base: BaseModel, tmp_path: Path) -> None:
    """Written by PEFT itself."""
    peft = pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(base.path)
    config = peft.LoraConfig(r=RANK, target_modules="all-linear", init_lora_weights=False)
    peft.get_peft_model(model, config).save_pretrained(tmp_path)
    shape = validate(tmp_path, base, max_rank=16)
    assert shape.rank == RANK
    assert set(shape.modules) == set(base.modules)


def test_what_the_engine_leaves_behind_is_in_a_directory_that_is_emptied(engine: RunningEngine) -> None:
    """Its sockets above all: it cannot remove them when it is killed."""
    assert any(file.is_socket() for file in engine.scratch.iterdir())
