"""How far a version's answers are from the base model's on anchors: prompts that no tenant has corrected."""

import asyncio
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adapters.engine import Engine
from adapters.types import BASE_NAME

TOP = 20
"""Likeliest tokens that an engine tells; vLLM's limit."""
AT_ONCE = 4
_FLOOR = 1e-6
"""Least probability of everything that was not told."""

Prompt = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Divergence:
    """KL(base ‖ version) in nats at the first token of an answer, over prompts."""

    mean: float
    p95: float
    worst: float
    prompts: int


async def divergence(engine: Engine, version_id: str, prompts: Sequence[Prompt]) -> Divergence:
    """Ask the base model and the version, which the engine holds. Raises EngineError, ValueError without prompts."""
    if not prompts:
        raise ValueError("there are no anchors to ask")
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(prompt: Prompt) -> float:
        async with turn:
            base = await engine.chat(BASE_NAME, prompt, 1, top_logprobs=TOP)
            version = await engine.chat(version_id, prompt, 1, top_logprobs=TOP)
        return kl(base.first_token_logprobs or {}, version.first_token_logprobs or {})

    found = sorted(await asyncio.gather(*(one(prompt) for prompt in prompts)))
    return Divergence(statistics.mean(found), found[int(0.95 * (len(found) - 1))], found[-1], len(found))


def kl(base: Mapping[str, float], version: Mapping[str, float]) -> float:
    """From the log-probabilities of each one's likeliest tokens: tokens that both name are told apart, everything
    else is one. Telling fewer apart never adds (the data-processing inequality): the true value is at least this."""
    common = base.keys() & version.keys()
    told = sum(math.exp(base[token]) * (base[token] - version[token]) for token in common)
    rest, other = (
        max(_FLOOR, 1.0 - sum(math.exp(each[token]) for token in common)) for each in (base, version)
    )
    return max(0.0, told + rest * math.log(rest / other))
