"""Of several control processes one leads."""

import asyncio

from redis.asyncio import Redis

from gateway.leader import KEY, Leadership


async def test_of_two_the_first_leads_and_goes_on_leading(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        first, second = Leadership(redis), Leadership(redis)
        both = [(await first.hold(), await second.hold()) for _ in range(3)]
        assert both == [(True, False)] * 3
        assert (first.leading, second.leading) == (True, False)


async def test_when_the_leader_is_gone_another_takes_over_and_it_does_not_come_back(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        killed, other = Leadership(redis, lease_ms=100), Leadership(redis)
        assert await killed.hold() and not await other.hold()
        for _ in range(500):
            if await other.hold():
                break
            await asyncio.sleep(0.01)
        assert other.leading
        assert not await killed.hold() and not killed.leading


async def test_the_lease_is_handed_on_at_once_by_its_holder_only(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        first, second = Leadership(redis), Leadership(redis)
        await first.hold()
        await second.release()
        assert not await second.hold()
        await first.release()
        assert await second.hold() and not first.leading


async def test_a_lease_that_redis_has_lost_is_taken_again(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        leadership = Leadership(redis)
        await leadership.hold()
        await redis.delete(KEY)
        assert await leadership.hold()
