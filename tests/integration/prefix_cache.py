"""A prompt that fills several blocks of vLLM's prefix cache, and what the cache says of its own use."""

from collections.abc import Awaitable
from typing import TypeVar

import httpx

from tests.waiting import until

PROMPT = (
    " ".join(f"Plan number {n} costs {n * 3} euros per month." for n in range(24)) + " Which is the best?"
)
"""Some 430 tokens, in blocks of 128."""
QUERIES, HITS = "vllm:prefix_cache_queries_total", "vllm:prefix_cache_hits_total"
T = TypeVar("T")


async def hits_of(engine_url: str, asking: Awaitable[T]) -> tuple[int, T]:
    """How many tokens of a request's prompt were found computed, and its answer; nobody else may ask meanwhile."""
    before = await _counted(engine_url)
    answer = await asking

    async def told() -> bool:
        return (await _counted(engine_url))[QUERIES] > before[QUERIES]

    await until(told)
    return int((await _counted(engine_url))[HITS] - before[HITS]), answer


async def _counted(engine_url: str) -> dict[str, float]:
    async with httpx.AsyncClient(trust_env=False) as http:
        lines = (await http.get(f"{engine_url}/metrics")).text.splitlines()
    return {
        name: sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name}{{"))
        for name in (QUERIES, HITS)
    }
