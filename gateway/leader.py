"""One control process at a time runs the loops: a lease in Redis, renewed while its holder lives."""

import logging
import secrets

from redis.asyncio import Redis
from redis.exceptions import RedisError

log = logging.getLogger(__name__)

KEY = "graft:control:leader"
LEASE_MS = 5_000
_RENEW = """
if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) end
return 0
"""
_RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"


class Leadership:
    """The lease decides who works, never what is right: every step that it guards is safe to repeat,
    because two holders can overlap when a process is stopped for longer than the lease."""

    def __init__(self, redis: Redis, lease_ms: int = LEASE_MS) -> None:
        self._redis = redis
        self._lease_ms = lease_ms
        self._id = secrets.token_hex(8)
        self.leading = False

    async def hold(self) -> bool:
        """Take or renew the lease; call it more often than the lease lasts. Without Redis nobody leads."""
        try:
            leading = await self._renew() or await self._take()
        except (RedisError, OSError) as error:
            log.warning("no leader lease: %s", error)
            leading = False
        if leading != self.leading:
            log.info("leading" if leading else "not leading any more")
        self.leading = leading
        return leading

    async def release(self) -> None:
        """Let another process take over at once."""
        self.leading = False
        try:
            await self._redis.eval(_RELEASE, 1, KEY, self._id)
        except (RedisError, OSError) as error:
            log.warning("the leader lease runs out by itself: %s", error)

    async def _renew(self) -> bool:
        return bool(await self._redis.eval(_RENEW, 1, KEY, self._id, str(self._lease_ms)))

    async def _take(self) -> bool:
        return bool(await self._redis.set(KEY, self._id, nx=True, px=self._lease_ms))
