"""What every shadow was offered and has spent, by all workers and over their restarts. In Redis, off the request's
path."""

import asyncio

from redis.asyncio import Redis

KEY = "graft:shadow:{id}"
KEPT_S = 30 * 86_400
"""After the last prompt; the journal's own count then still ends a shadow."""
ANSWER_S = 1.0


class ShadowCounts:
    """By rollout. Raises RedisError or OSError (TimeoutError is one) while Redis is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def add(self, rollout_id: str, offered: int, tokens: int) -> int:
        """Note prompts that were to be shadowed, and tokens that are going to be spent (negative: that were not).
        Returns the tokens of all workers."""
        key = KEY.format(id=rollout_id)
        async with asyncio.timeout(ANSWER_S), self._redis.pipeline(transaction=True) as pipe:
            pipe.hincrby(key, "offered", offered)
            pipe.hincrby(key, "tokens", tokens)
            pipe.expire(key, KEPT_S)
            _, spent, _ = await pipe.execute()
        return int(spent)

    async def offered(self, rollout_id: str) -> int:
        """Prompts that were to be shadowed."""
        async with asyncio.timeout(ANSWER_S):
            return int(await self._redis.hget(KEY.format(id=rollout_id), "offered") or 0)
