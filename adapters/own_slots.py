"""The slots of control and the learner, for what they ask the engines by themselves: probes, checks, gates.

Each is one more worker to the ledger, under a lease of its own: what a killed one held is free when that ends.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Sequence

from redis.asyncio import Redis
from redis.exceptions import RedisError

from adapters.slot_ledger import WORKER_KEY, RedisSlots
from adapters.slot_table import Grants, Word
from adapters.slots import SlotListener, Slots
from adapters.tasks import end

OWN_SLOTS = 2
"""Of each engine's, while Redis is away: control's one and the learner's."""
LEASE_MS = 5000
RENEW_S = 1.0
PATIENCE_S = 60.0
"""How long a question waits for its slot: several of the longest answers that it lets go first."""
WAITING = 1000
"""Questions that may wait: more than a gate asks at once."""


class Leased:
    """A ledger for one that has no heartbeat: a lease says that it lives."""

    def __init__(self, redis: Redis, slots: int, lease_ms: int = LEASE_MS) -> None:
        me = f"own_{secrets.token_hex(8)}"
        self._redis = redis
        self._ledger = RedisSlots(redis, me, slots)
        self._key = WORKER_KEY.format(id=me)
        self._lease_ms = lease_ms

    async def exchange(self, url: str, word: Word) -> Grants:
        """Never granted to one whose lease nobody has seen. Raises redis' errors, OSError."""
        await self.renew()
        return await self._ledger.exchange(url, word)

    async def renew(self) -> None:
        await self._redis.set(self._key, b"", px=self._lease_ms)

    async def renewing(self) -> None:
        """Until cancelled. A Redis that is away has nothing to lose."""
        while True:
            with contextlib.suppress(RedisError, OSError):
                async with asyncio.timeout(RENEW_S):
                    await self.renew()
            await asyncio.sleep(RENEW_S)

    async def end(self) -> None:
        with contextlib.suppress(RedisError, OSError):
            async with asyncio.timeout(RENEW_S):
                await self._redis.delete(self._key)


@contextlib.asynccontextmanager
async def own_slots(
    redis: Redis, urls: Sequence[str], count: int, patience_s: float = PATIENCE_S
) -> AsyncIterator[Slots]:
    """The slots of these replicas for this process; without Redis one of each. count: slots of each engine."""
    ledger = Leased(redis, count)
    slots = Slots(ledger, urls, count, lambda: 1, WAITING, patience_s, keep=False)
    listener = SlotListener(redis, slots)
    listener.start()
    renewing = asyncio.create_task(ledger.renewing(), name="slot-lease")
    try:
        yield slots
    finally:
        await end(renewing)
        await listener.close()
        await slots.close()
        await ledger.end()
