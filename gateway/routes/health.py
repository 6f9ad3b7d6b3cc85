"""`/healthz`, `/readyz`, `/metrics`: for machines, without a key, without tenant data beyond ids."""

import asyncio
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.proxy import Proxy
from gateway.routes.access import json_response
from gateway.snapshot import CurrentSnapshot
from gateway.telemetry import Telemetry
from retrieval.client import RetrievalClient
from training.journal import JournalWriter

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
NOT_READY: dict[str, Any] = {
    "description": "A part is missing",
    "content": {"application/json": {"schema": {"type": "object"}}},
}


class Readiness:
    """Whether requests would be answered in full. Redis being away is reported and does not make it
    unready."""

    def __init__(self, proxy: Proxy, retrieval: RetrievalClient, redis: Redis) -> None:
        self._proxy = proxy
        self._retrieval = retrieval
        self._redis = redis

    async def parts(self) -> dict[str, bool]:
        engines, retrieval, redis = await asyncio.gather(
            self._proxy.healthy(), self._retrieval.healthy(), self._redis_answers()
        )
        return {"engine": any(engines), "retrieval": retrieval, "redis": redis}

    async def _redis_answers(self) -> bool:
        try:
            async with asyncio.timeout(1.0):
                return bool(await self._redis.ping())
        except (RedisError, OSError):
            return False


def health_router(
    readiness: Readiness, telemetry: Telemetry, journal: JournalWriter, current: CurrentSnapshot
) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get("/healthz")
    async def healthz() -> Response:
        return json_response(200, {"status": "ok"})

    @router.get("/readyz", responses={503: NOT_READY})
    async def readyz() -> Response:
        parts = await readiness.parts()
        missing: Sequence[str] = [name for name in ("engine", "retrieval") if not parts[name]]
        return json_response(503 if missing else 200, {"ready": not missing, "parts": parts})

    @router.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        telemetry.journal_dropped.set(journal.dropped)
        telemetry.forget(current.value.serves)
        return Response(telemetry.exposition(), media_type=METRICS_TYPE)

    return router
