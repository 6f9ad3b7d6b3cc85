"""The queue ahead of the engine. Simulated time: nothing here waits for a real clock."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from gateway.errors import EngineUnavailable
from gateway.turns import Turns
from tests.unit.adapters.simulated import simulate


def turns(places: int = 1, bound: int = 1000, patience_s: float = 30.0) -> Turns:
    return Turns(lambda: places, bound, patience_s, asyncio.get_running_loop().time)


async def serve(queue: Turns, tenant: str, service_s: float, weight: float = 1.0) -> float:
    """How long the request took, its wait included."""
    clock = asyncio.get_running_loop().time
    asked = clock()
    place = await queue.enter(tenant, weight, 1.0)
    await asyncio.sleep(service_s)
    place.leave()
    return clock() - asked


async def every(gap_s: float, times: int, ask: Callable[[], Coroutine[Any, Any, float]]) -> list[float]:
    """Open loop: a request every `gap_s`, whatever became of the last."""
    tasks = []
    for _ in range(times):
        tasks.append(asyncio.create_task(ask()))
        await asyncio.sleep(gap_s)
    found = await asyncio.gather(*tasks, return_exceptions=True)
    return [each for each in found if isinstance(each, float)]


def p99(found: list[float]) -> float:
    return sorted(found)[int(0.99 * len(found))]


async def victims_p99(flood: bool) -> tuple[float, int]:
    """8 places, 0.1 s each: 80 a second, so 40 for each of two. The victim asks for 20, the other for 20 times its
    own 40."""
    queue = turns(places=8, bound=256)
    victim = asyncio.create_task(every(0.05, 400, lambda: serve(queue, "victim", 0.1)))
    if flood:
        await every(1 / 800, 16_000, lambda: serve(queue, "flood", 0.1))
    found = await victim
    return p99(found), len(found)


def test_a_flood_at_twenty_times_its_share_slows_another_by_half_at_most() -> None:
    async def play() -> None:
        calm, _ = await victims_p99(flood=False)
        flooded, served = await victims_p99(flood=True)
        assert served == 400
        assert flooded <= 1.5 * calm

    simulate(play)


def test_weights_divide_a_busy_engine() -> None:
    async def play() -> None:
        queue, order = turns(), []

        async def one(tenant: str, weight: float) -> None:
            place = await queue.enter(tenant, weight, 1.0)
            order.append(tenant)
            await asyncio.sleep(0.1)
            place.leave()

        tasks = [asyncio.create_task(one(*who)) for who in [("big", 3.0), ("small", 1.0)] for _ in range(40)]
        await asyncio.gather(*tasks)
        assert 28 <= order[:40].count("big") <= 32

    simulate(play)


def test_a_request_that_finds_room_does_not_wait() -> None:
    async def play() -> None:
        with pytest.raises(StopIteration):
            turns().enter("acme", 1.0, 1.0).send(None)

    simulate(play)


def test_ten_thousand_tenants_are_not_looked_through_for_every_request() -> None:
    async def play() -> None:
        queue = turns(places=1)
        tables: list[object] = []
        for number in range(10_000):
            (await queue.enter(f"ten_{number}", 1.0, 1.0)).leave()
            if not any(queue._finish is table for table in tables):
                tables.append(queue._finish)
            assert len(tables) < 5
        for _ in range(2):
            for number in range(10_000):
                (await queue.enter("other", 1.0, 1.0)).leave()
                (await queue.enter(f"new_{number}", 1.0, 1.0)).leave()
        assert len(queue._finish) < 10_000

    simulate(play)


def test_past_the_bound_the_flood_is_refused_and_told_when_to_come_back() -> None:
    async def play() -> None:
        queue = turns(bound=10)
        await serve(queue, "acme", 0.5)
        flood = [asyncio.create_task(serve(queue, "flood", 0.5)) for _ in range(12)]
        await asyncio.sleep(0.1)
        victim = asyncio.create_task(serve(queue, "acme", 0.5))
        refused = [
            each
            for each in await asyncio.gather(*flood, return_exceptions=True)
            if isinstance(each, Exception)
        ]
        first, second = refused
        assert isinstance(first, EngineUnavailable) and isinstance(second, EngineUnavailable)
        assert 4.0 <= (first.retry_after_s or 0.0) <= 6.0
        assert await victim < 1.5  # what runs, at most one of the flood's, its own

    simulate(play)


def test_who_would_wait_too_long_is_told_at_once() -> None:
    async def play() -> None:
        queue = turns(patience_s=2.5)
        await serve(queue, "acme", 1.0)
        waiting = [asyncio.create_task(serve(queue, "acme", 1.0)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(EngineUnavailable) as refused:
            await queue.enter("acme", 1.0, 1.0)
        assert refused.value.retry_after_s == pytest.approx(3.0)
        assert asyncio.get_running_loop().time() == pytest.approx(1.0)
        await asyncio.gather(*waiting)

    simulate(play)


def test_patience_ends_at_an_engine_that_never_answers() -> None:
    async def play() -> None:
        queue = turns(patience_s=2.0)
        held = await queue.enter("acme", 1.0, 1.0)
        with pytest.raises(EngineUnavailable):
            await queue.enter("acme", 1.0, 1.0)
        assert asyncio.get_running_loop().time() == pytest.approx(2.0)
        held.leave()
        await serve(queue, "acme", 0.1)

    simulate(play)


def test_a_client_that_leaves_gives_up_its_turn() -> None:
    async def play() -> None:
        queue = turns()
        held = await queue.enter("acme", 1.0, 1.0)
        leaving = [asyncio.create_task(queue.enter("acme", 1.0, 1.0)) for _ in range(2)]
        staying = asyncio.create_task(queue.enter("acme", 1.0, 1.0))
        await asyncio.sleep(0)
        leaving[0].cancel()
        await asyncio.sleep(0)
        held.leave()
        leaving[1].cancel()
        await asyncio.sleep(0.01)
        assert staying.done()

    simulate(play)


def test_a_client_that_leaves_as_the_last_request_ends_keeps_nobody_from_a_turn() -> None:
    """Its task has not heard of it yet when the place is given back, and another request comes."""

    async def play() -> None:
        queue = turns()
        held = await queue.enter("acme", 1.0, 1.0)
        leaving = asyncio.create_task(queue.enter("acme", 1.0, 1.0))
        await asyncio.sleep(0)
        leaving.cancel()
        held.leave()
        async with asyncio.timeout(1.0):
            (await queue.enter("acme", 1.0, 1.0)).leave()

    simulate(play)


def test_who_goes_last_goes_after_all_that_wait_and_that_come_while_it_waits() -> None:
    async def play() -> None:
        queue, order = turns(), list[str]()
        held = await queue.enter("acme", 1.0, 1.0)

        async def one(name: str) -> None:
            last = name == "last"
            place = await (queue.enter_last(name) if last else queue.enter(name, 1.0, 1000.0))
            order.append(name)
            await asyncio.sleep(0.1)
            place.leave()

        tasks = []
        for name in ("acme", "acme", "acme", "last", "globex", "acme"):
            tasks.append(asyncio.create_task(one(name)))
            await asyncio.sleep(0)
        held.leave()
        await asyncio.gather(*tasks)
        assert (order[-1], order.count("acme"), order.count("globex")) == ("last", 4, 1)
        place = await queue.enter("acme", 1.0, 1.0)
        later = asyncio.create_task(one("globex"))
        await asyncio.sleep(0)
        place.leave()
        await later

    simulate(play)


def test_who_goes_last_takes_no_place_in_a_full_queue_and_gives_up_its_own() -> None:
    async def play() -> None:
        queue = turns(bound=2)
        users = [asyncio.create_task(serve(queue, "acme", 1.0)) for _ in range(3)]
        await asyncio.sleep(0.5)
        with pytest.raises(EngineUnavailable):
            await queue.enter_last("shadow")
        await asyncio.sleep(1.0)
        last = asyncio.create_task(queue.enter_last("shadow"))
        await asyncio.sleep(0)
        users.append(asyncio.create_task(serve(queue, "globex", 1.0)))
        with pytest.raises(EngineUnavailable):
            await last
        assert asyncio.get_running_loop().time() == pytest.approx(1.5)
        await asyncio.gather(*users)

    simulate(play)


def test_who_goes_last_costs_nobody_a_place() -> None:
    async def play() -> None:
        queue = turns(bound=4)
        users = [asyncio.create_task(serve(queue, name, 1.0)) for name in ("acme", "acme", "acme", "globex")]
        await asyncio.sleep(0.5)
        last = asyncio.create_task(queue.enter_last("shadow"))
        await asyncio.sleep(0)
        users.append(asyncio.create_task(serve(queue, "acme", 1.0)))
        with pytest.raises(EngineUnavailable):
            await last
        await asyncio.gather(*users)

    simulate(play)
