"""What every shadow was offered and has spent, by all workers and over their restarts. In Redis, off the request's
path."""

import asyncio

from redis.asyncio import Redis

KEY = "graft:shadow:{id}"
KEPT_S = 30 * 86_400
"""After the last answer; the journal's own count then still ends a shadow."""
ANSWER_S = 1.0


class ShadowCounts:
    """By rollout. Raises RedisError or OSError (TimeoutError is one) while Redis is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def add(self, rollout_id: str, offered: int, tokens: int) -> None:
        """Note prompts that were to be shadowed, and tokens that were spent."""
        key = KEY.format(id=rollout_id)
        async with asyncio.timeout(ANSWER_S), self._redis.pipeline(transaction=True) as pipe:
            pipe.hincrby(key, "offered", offered)
            pipe.hincrby(key, "tokens", tokens)
            pipe.expire(key, KEPT_S)
            await pipe.execute()

    async def offered(self, rollout_id: str) -> int:
        """Prompts that were to be shadowed."""
        return await self._read(rollout_id, "offered")

    async def spent(self, rollout_id: str) -> int:
        """Tokens of all workers."""
        return await self._read(rollout_id, "tokens")

    async def _read(self, rollout_id: str, field: str) -> int:
        async with asyncio.timeout(ANSWER_S):
            return int(await self._redis.hget(KEY.format(id=rollout_id), field) or 0)
