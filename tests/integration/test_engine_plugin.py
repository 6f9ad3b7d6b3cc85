"""The plugin inside a real vLLM, as control asks it: what memory really holds, in and out of it, and pinned."""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from adapters.errors import EngineRefused
from adapters.vllm import PLUGIN, VllmEngine
from deploy.demo.serving import RunningEngine
from tests.integration.random_adapters import Write

pytestmark = pytest.mark.slow

HELLO = [{"role": "user", "content": "Hello"}]


async def ask(engine: RunningEngine, method: str, path: str, **more: Any) -> httpx.Response:
    headers = more.pop("headers", {"authorization": f"Bearer {engine.token}"})
    async with httpx.AsyncClient(trust_env=False, base_url=engine.url, timeout=30) as http:
        return await http.request(method, path, headers=headers, **more)


async def residency(engine: RunningEngine) -> Mapping[str, Any]:
    answer: dict[str, Any] = (await ask(engine, "GET", PLUGIN)).json()
    return {each["id"]: each for each in answer["data"]}


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong"}, {"authorization": "Basic x"}])
@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("PUT", "/ver_a"), ("DELETE", "/ver_a"), ("PUT", "/ver_a/pin")]
)
async def test_nothing_is_told_or_done_without_the_engines_token(
    engine: RunningEngine, method: str, path: str, headers: dict[str, str]
) -> None:
    assert (await ask(engine, method, PLUGIN + path, headers=headers)).status_code == 401


async def test_an_unloaded_version_leaves_memory_and_its_slot(
    vllm: VllmEngine, engine: RunningEngine, write: Write
) -> None:
    """vLLM's own unload forgets only the name."""
    await vllm.load("ver_gone", write(1))
    await vllm.chat("ver_gone", HELLO, 1)
    held = (await residency(engine))["ver_gone"]
    assert (held["servable"], held["in_memory"], held["in_slot"]) == (True, True, True)
    await vllm.unload("ver_gone")
    assert "ver_gone" not in await residency(engine)


async def test_what_vllm_forgot_but_still_holds_is_listed(
    vllm: VllmEngine, engine: RunningEngine, write: Write
) -> None:
    await vllm.load("ver_left", write(1))
    await residency(engine)
    await ask(engine, "POST", "/v1/unload_lora_adapter", json={"lora_name": "ver_left"})
    held = (await residency(engine))["ver_left"]
    assert (held["servable"], held["in_memory"]) == (False, True)
    assert await vllm.resident() == {"ver_left"}


async def test_slots_and_memory_are_told_apart(vllm: VllmEngine, engine: RunningEngine, write: Write) -> None:
    """The supervisor's engine computes with four adapters at once and remembers sixteen."""
    for number in range(6):
        await vllm.load(f"ver_{number}", write(number))
    held = await residency(engine)
    assert sum(each["in_memory"] for each in held.values()) == 6
    assert {name for name, each in held.items() if each["in_slot"]} == {f"ver_{n}" for n in (2, 3, 4, 5)}


async def test_a_pinned_version_stays_in_memory_until_it_is_let_go(
    vllm: VllmEngine, engine: RunningEngine, write: Write
) -> None:
    await vllm.load("ver_pinned", write(99))
    await vllm.pin("ver_pinned")
    for number in range(17):
        await vllm.load(f"ver_{number}", write(number))
    held = (await residency(engine))["ver_pinned"]
    assert (held["in_memory"], held["in_slot"], held["pinned"]) == (True, False, True)
    assert not (await residency(engine))["ver_0"]["in_memory"]
    await vllm.unpin("ver_pinned")
    for number in range(17, 34):
        await vllm.load(f"ver_{number}", write(number))
    held = (await residency(engine))["ver_pinned"]
    assert (held["in_memory"], held["pinned"]) == (False, False)


async def test_with_as_many_pins_as_may_be_all_slots_batch_others(vllm: VllmEngine, write: Write) -> None:
    """With every place in memory but one pinned, a batch of four others would end the engine."""
    for number in range(17):
        await vllm.load(f"ver_{number}", write(number))
    for number in range(12):
        await vllm.pin(f"ver_{number}")
    with pytest.raises(EngineRefused, match="12 are pinned, of the 12 that may be"):
        await vllm.pin("ver_12")
    for others in (range(12, 16), range(13, 17), range(4)):
        answers = await asyncio.gather(*(vllm.chat(f"ver_{number}", HELLO, 8) for number in others))
        assert all(answer.completion_tokens for answer in answers)
    assert (await vllm.holding()).pinned == {f"ver_{number}" for number in range(12)}


async def test_what_is_not_loaded_cannot_be_pinned(vllm: VllmEngine) -> None:
    with pytest.raises(EngineRefused) as caught:
        await vllm.pin("ver_nowhere")
    assert caught.value.status == 409


async def test_removing_what_is_not_there_is_no_error(vllm: VllmEngine) -> None:
    await vllm.unload("ver_nowhere")


async def test_an_engine_without_a_store_says_that_it_cannot_fetch(vllm: VllmEngine) -> None:
    assert not await vllm.pull("ver_any", f"sha256:{'0' * 64}")
