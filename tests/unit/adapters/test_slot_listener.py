"""A worker that listens for what others change, while Redis answers and while it only takes connections."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from adapters import slots
from adapters.own_slots import own_slots
from adapters.slot_ledger import SLOTS_CHANNEL
from adapters.slots import SlotListener, Slots
from adapters.testing import MemorySlots
from tests.waiting import until

URL = "http://engine"


class Told(Slots):
    """Notes what its listener says."""

    def __init__(self) -> None:
        super().__init__(MemorySlots({}, 1, "w_1", {"w_1"}), [URL], 1, lambda: 1, 1, 1.0)
        self.urls: list[str] = []
        self.losses = 0

    def changed(self, url: str) -> None:
        self.urls.append(url)

    def lost(self) -> None:
        self.losses += 1

    async def lost_twice(self) -> bool:
        return self.losses > 1

    async def told_again(self) -> bool:
        return self.losses == 2


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "AGAIN_S", 0.05)


@pytest.fixture
async def silent() -> AsyncIterator[Redis]:
    """Takes connections and says nothing."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, Redis(port=server.sockets[0].getsockname()[1]) as redis:
        yield redis


async def listened(redis: Redis) -> bool:
    return bool((await redis.pubsub_numsub(SLOTS_CHANNEL))[0][1] == 1)


async def pings(redis: Redis) -> int:
    commands = await redis.info("commandstats")
    return int(commands.get("cmdstat_ping", {"calls": 0})["calls"])


@asynccontextmanager
async def listening(redis: Redis) -> AsyncIterator[Told]:
    told = Told()
    listener = SlotListener(redis, told)
    listener.start()
    yield told
    await listener.close()


async def test_a_redis_that_takes_connections_and_says_nothing_is_lost(silent: Redis) -> None:
    async with listening(silent) as told:
        await until(lambda: told.losses > 1)


async def test_a_redis_that_falls_silent_is_lost_and_heard_again_later(redis: Redis) -> None:
    async with listening(redis) as told:
        await until(lambda: listened(redis))
        await redis.client_pause(500)
        await until(lambda: told.losses > 1)

        async def heard() -> bool:
            await redis.publish(SLOTS_CHANNEL, URL)
            return URL in told.urls

        await until(heard)


async def test_a_ledger_that_is_back_is_told_again_what_runs(redis: Redis) -> None:
    """Once when the connection breaks off, and once when there is another: the ledger may have begun anew."""
    async with listening(redis) as told:
        await until(lambda: listened(redis))
        await redis.client_kill_filter(_type="pubsub")
        await until(told.told_again)
        assert await listened(redis)


async def test_a_channel_without_news_is_not_lost(redis: Redis) -> None:
    async with listening(redis) as told:
        await until(lambda: listened(redis))
        before = await pings(redis)

        async def answered() -> bool:
            return await pings(redis) >= before + 3

        await until(answered)
        assert (told.losses, told.urls) == (0, [])


async def test_slots_of_its_own_end_while_redis_says_nothing(silent: Redis) -> None:
    async with asyncio.timeout(10), own_slots(silent, [URL], 1):
        await asyncio.sleep(0)
