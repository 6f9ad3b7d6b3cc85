"""How the supervisor and `graft doctor` ask a process whether it can do its work."""

from types import TracebackType
from typing import Self

import httpx
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.supervisor import Probe


class Probes:
    """Makes probes over one HTTP client."""

    def __init__(self) -> None:
        self._http = httpx.AsyncClient(timeout=2.0, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    def http(self, url: str) -> Probe:
        """True once a GET answers 200."""

        async def probe() -> bool:
            try:
                return (await self._http.get(url)).status_code == 200
            except (httpx.HTTPError, OSError):
                return False

        return probe

    def redis(self, url: str) -> Probe:
        """True once PING is answered."""

        async def probe() -> bool:
            client = Redis.from_url(url, socket_timeout=2.0, socket_connect_timeout=2.0)
            try:
                return bool(await client.ping())
            except (RedisError, OSError):
                return False
            finally:
                await client.aclose()

        return probe

    def redis_key(self, url: str, key: str) -> Probe:
        """True while the key exists."""

        async def probe() -> bool:
            client = Redis.from_url(url, socket_timeout=2.0, socket_connect_timeout=2.0)
            try:
                return bool(await client.exists(key))
            except (RedisError, OSError):
                return False
            finally:
                await client.aclose()

        return probe
