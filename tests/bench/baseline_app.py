"""The usual way to write a proxy: FastAPI and httpx, passing bytes on. No keys, no limits, no record, no renaming.

Run as `uvicorn tests.bench.baseline_app:app`, with `UPSTREAM` in the environment.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse

UPSTREAM = os.environ["UPSTREAM"]
LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=1024)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with httpx.AsyncClient(base_url=UPSTREAM, timeout=600, limits=LIMITS, trust_env=False) as client:
        app.state.client = client
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok"}


@app.post("/v1/chat/completions")
async def chat(request: Request) -> Response:
    """The upstream's answer as it is, streamed when the client asks for a stream."""
    client: httpx.AsyncClient = app.state.client
    payload: dict[str, Any] = await request.json()
    headers = {"content-type": "application/json"}
    sent = client.build_request("POST", "/v1/chat/completions", content=await request.body(), headers=headers)
    answer = await client.send(sent, stream=True)
    if payload.get("stream"):
        return StreamingResponse(_relay(answer), answer.status_code, media_type="text/event-stream")
    content = await answer.aread()
    return Response(content, answer.status_code, media_type="application/json")


async def _relay(answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for part in answer.aiter_raw():
            yield part
    finally:
        await answer.aclose()
