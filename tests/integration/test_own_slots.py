"""What control and the learner ask by themselves takes slots from the same table as the workers' requests, over a real
Redis and an engine that counts."""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import pytest
from redis.asyncio import Redis

from adapters.own_slots import Leased, own_slots
from adapters.slot_ledger import WORKER_KEY, RedisSlots
from adapters.slot_table import Word
from adapters.slots import SlotListener, Slots
from adapters.types import BASE_NAME
from adapters.vllm import VllmEngine
from tests.integration.gateway_house import beating
from tests.waiting import until

URL = "http://engine"
SLOTS = 3
WORKERS = ("w_0", "w_1")
MESSAGES = [{"role": "user", "content": "Hello"}]


class Counting:
    """Counts the adapters that it is asked for at once, by whomever."""

    def __init__(self) -> None:
        self.running: Counter[str] = Counter()
        self.most = 0
        self.answered: Counter[str] = Counter()

    async def serve(self, model: str) -> None:
        self.running[model] += 1
        self.most = max(self.most, sum(bool(n) for name, n in self.running.items() if name != BASE_NAME))
        await asyncio.sleep(0.005)
        self.running[model] -= 1
        self.answered[model] += 1

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        await self.serve(json.loads(request.content)["model"])
        choice = {"index": 0, "message": {"content": "Hello"}}
        return httpx.Response(200, json={"choices": [choice], "usage": {"prompt_tokens": 1}})


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with beating(redis_url, WORKERS) as client:
        yield client


async def worker(redis: Redis, name: str, stack: AsyncExitStack) -> Slots:
    slots = Slots(RedisSlots(redis, name, SLOTS), [URL], SLOTS, lambda: 1, 1000, 30.0)
    listener = SlotListener(redis, slots)
    listener.start()
    stack.push_async_callback(listener.close)
    stack.push_async_callback(slots.close)
    return slots


async def test_probes_and_gates_beside_requests_never_exceed_an_engines_slots(redis: Redis) -> None:
    """A probe of one version and a gate of two others, while two workers serve seven."""
    rng, counting = random.Random(7), Counting()
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx.AsyncClient(transport=httpx.MockTransport(counting)))
        control, learner = [
            VllmEngine(URL, "", http, slots=await stack.enter_async_context(own_slots(redis, [URL], SLOTS)))
            for _ in range(2)
        ]
        workers = [await worker(redis, name, stack) for name in WORKERS]

        async def request(number: int) -> None:
            await asyncio.sleep(rng.random() * 0.5)
            version = f"v{number % 7}"
            slot = await workers[number % len(workers)].enter(URL, version)
            await counting.serve(version)
            slot.release()

        own = [control.chat("probed", MESSAGES, 1) for _ in range(20)]
        own += [learner.chat(name, MESSAGES, 1) for name in ("production", "candidate") for _ in range(40)]
        own += [control.chat(BASE_NAME, MESSAGES, 1) for _ in range(20)]
        await asyncio.gather(*own, *(request(number) for number in range(200)))
    assert counting.most == SLOTS
    assert counting.answered["probed"] == 20
    assert sum(counting.answered.values()) == 320


async def test_what_is_asked_last_leaves_no_slot_behind(redis: Redis) -> None:
    async with own_slots(redis, [URL], 1) as slots:
        (await slots.enter(URL, "probed")).release()
        async with asyncio.timeout(2.0), AsyncExitStack() as stack:
            (await (await worker(redis, "w_0", stack)).enter(URL, "served")).release()


async def test_a_killed_holder_loses_its_slot_with_its_lease(redis: Redis) -> None:
    """Nothing renews it: a worker gets the only slot once the lease has ended, and not before."""
    await Leased(redis, 1, lease_ms=400).exchange(URL, Word((), {"probed": 0.0}))
    other = RedisSlots(redis, "w_0", 1)
    word = Word((), {"served": 0.0})
    began = time.monotonic()
    assert not (await other.exchange(URL, word)).held

    async def granted() -> bool:
        return bool((await other.exchange(URL, word)).held)

    await until(granted)
    assert 0.3 < time.monotonic() - began < 2.0


async def test_a_lease_is_renewed_while_its_holder_lives(redis: Redis) -> None:
    async with own_slots(redis, [URL], 1) as slots:
        await slots.enter(URL, "probed")
        (key,) = [name async for name in redis.scan_iter(WORKER_KEY.format(id="own_*"))]
        await redis.pexpire(key, 1500)

        async def renewed() -> bool:
            return bool(await redis.pttl(key) > 1500)

        await until(renewed)
    assert not await redis.exists(key)
