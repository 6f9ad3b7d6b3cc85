"""Slots of the engines over a real Redis, and what a real vLLM is asked for at once."""

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from adapters.base import describe_base
from adapters.slot_ledger import SLOTS_CHANNEL, WORKER_KEY, RedisSlots
from adapters.slot_table import SlotTable, Word
from adapters.slots import SlotListener, Slots
from adapters.types import Alias, Lineage, VersionStatus
from adapters.vllm import VllmEngine
from deploy.demo.serving import RunningEngine
from tests.integration.gateway_house import BASE_DIGEST, beating, house
from tests.integration.random_adapters import write_adapter
from tests.waiting import until

URL = "http://engine"
VERSIONS = "abcdefgh"
WORKERS = ("w_0", "w_1", "w_2")
SLOTS = 4


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with beating(redis_url, WORKERS) as client:
        yield client


@pytest.mark.parametrize("tenure_s", [0.0, 1000.0])
async def test_the_script_follows_the_rule(redis: Redis, tenure_s: float) -> None:
    rng = random.Random(3)
    table = SlotTable(3, tenure_s=tenure_s)
    for step in range(300):
        worker = rng.choice(WORKERS)
        table.slots = 3 - step // 50 % 3
        released = frozenset(rng.sample(VERSIONS, rng.randrange(3)))
        wanted = {name: 100.0 * VERSIONS.index(name) for name in rng.sample(VERSIONS, rng.randrange(4))}
        running = frozenset(rng.sample(VERSIONS, rng.randrange(2)))
        word = Word(released, wanted, running)
        expected = table.exchange(worker, word, time.monotonic(), WORKERS)
        found = await RedisSlots(redis, worker, table.slots, tenure_s).exchange(URL, word)
        assert (step, found.held, found.leaving, found.short) == (
            step,
            expected.held,
            expected.leaving,
            expected.short,
        )


async def test_the_slots_of_a_worker_without_a_heartbeat_are_free(redis: Redis) -> None:
    await RedisSlots(redis, "w_0", 1).exchange(URL, Word((), {"a": 0.0}))
    await redis.delete(WORKER_KEY.format(id="w_0"))
    assert (await RedisSlots(redis, "w_1", 1).exchange(URL, Word((), {"b": 0.0}))).held == {"b"}


async def test_workers_pass_a_slot_on_within_milliseconds(redis: Redis) -> None:
    """Each has the only slot in turn; nobody waits for a poll."""
    async with AsyncExitStack() as stack:
        workers = []
        for name in WORKERS:
            slots = Slots(RedisSlots(redis, name, 1), [URL], 1, lambda: 1, 100, 10.0)
            listener = SlotListener(redis, slots)
            listener.start()
            stack.push_async_callback(listener.close)
            stack.push_async_callback(slots.close)
            workers.append(slots)
        await until_listened(redis, len(WORKERS))
        started = time.monotonic()
        for turn in range(60):
            (await workers[turn % len(workers)].enter(URL, f"v{turn}")).release()
        assert (time.monotonic() - started) / 60 < 0.04


async def until_listened(redis: Redis, count: int) -> None:
    async def listened() -> bool:
        return bool((await redis.pubsub_numsub(SLOTS_CHANNEL))[0][1] == count)

    await until(listened)


@pytest.mark.slow
async def test_a_real_engine_is_never_asked_for_more_adapters_than_it_has_slots(
    tmp_path: Path, engine: RunningEngine, base_model: Path
) -> None:
    """By its own account: none of what it has been asked for does it put off, as it does with the adapters beyond those
    that one batch may have."""
    base = describe_base(base_model)
    async with (
        house(tmp_path, engine.url, engine.token) as at,
        httpx.AsyncClient(trust_env=False) as http,
        AsyncExitStack() as stack,
    ):
        replica = VllmEngine(engine.url, engine.token, http)
        customers = []
        for number in range(10):
            customer = await stack.enter_async_context(at.customer(f"tenant{number}"))
            version = await at.registry.register(
                customer.id, "default", f"sha256:{number}", Lineage(BASE_DIGEST), {}
            )
            await replica.load(version.id, write_adapter(tmp_path / version.id, base, number))
            stack.push_async_callback(replica.unload, version.id)
            await at.registry.set_status(version.id, VersionStatus.APPROVED)
            move = await at.registry.move_alias(customer.id, "default", Alias.STABLE, version.id, "test")
            await at.applied(move.change)
            customers.append(customer)
        asked = [
            asyncio.create_task(customer.ask("Tell me a story.", max_tokens=24, min_tokens=24))
            for _ in range(4)
            for customer in customers
        ]
        most, put_off = 0, 0.0
        while not all(task.done() for task in asked):
            metrics = await http.get(f"{engine.url}/metrics")
            most, put_off = max(most, len(adapters_in(metrics))), max(put_off, deferred_in(metrics))
            await asyncio.sleep(0.01)
        answers = [task.result() for task in asked]
    assert {answer.status_code for answer in answers} == {200}
    assert all(answer.headers["x-graft-version"] == "default@v1" for answer in answers)
    assert (most, put_off) == (SLOTS, 0.0)


def deferred_in(metrics: httpx.Response) -> float:
    """Requests that the engine put off at its last step."""
    gauge = "vllm:num_requests_waiting_by_reason{"
    lines = [line for line in metrics.text.splitlines() if line.startswith(gauge) and "deferred" in line]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def adapters_in(metrics: httpx.Response) -> set[str]:
    """Names in the gauge whose time stamp is the newest: what runs, and of what waits
    only that which has run before."""
    lines = [line for line in metrics.text.splitlines() if line.startswith("vllm:lora_requests_info{")]
    if not lines:
        return set()
    newest = max(lines, key=lambda line: float(line.rsplit(" ", 1)[1]))
    found = re.findall(r'(?:running|waiting)_lora_adapters="([^"]*)"', newest)
    return {name for part in found for name in part.split(",") if name}
