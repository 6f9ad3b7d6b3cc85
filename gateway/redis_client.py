"""The one way in which gateway and control open Redis."""

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

REDIS_S = 1.0
"""A Redis that takes longer is as good as gone: nobody waits for it, a worker that ends least of all."""
ONCE = Retry(NoBackoff(), 1)
"""For a connection that was kept and has ended meanwhile. redis-py's ten retries would make fifteen seconds of one."""


def connected(url: str) -> Redis:
    """A client, closed by who opened it. A Redis that takes a connection and says nothing raises redis' TimeoutError,
    as one that is away raises its ConnectionError."""
    client: Redis = Redis.from_url(url, socket_timeout=REDIS_S, socket_connect_timeout=REDIS_S, retry=ONCE)
    return client
