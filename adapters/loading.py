"""Bringing a version into the engines, and the proof that it acts there."""

import asyncio
import math
import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path

from adapters.artifacts import ArtifactStore
from adapters.engine import Completion, Engine
from adapters.errors import (
    EngineRefused,
    EngineUnavailable,
    ProbeFailed,
    VersionLost,
    VersionRefused,
    WrongBase,
)
from adapters.placement import taking
from adapters.stopwatch import Stopwatch
from adapters.types import BASE_NAME, Check, Version

PROBES = (
    "Hello, who are you?",
    "What does it cost per month?",
    "What are your opening hours?",
)
"""Questions of which a trained adapter answers at least one with other odds than its base."""
_PROBE_TOKENS = 1
_TOP_LOGPROBS = 5
_CHECK_TOKENS = 256
_SHOWN = 200
_NOISE = 1e-3
"""Largest difference of a log-probability that rounding alone makes between two batches of the same
weights."""
_REFUSES_FILES = frozenset({400, 422, 500})
"""Statuses by which an engine refuses a version's files. vLLM says 500, as it does when it is dying itself; 404 says
that it does not find them."""
_REFUSES_QUESTION = frozenset({400, 422})
_UNKNOWN = 404
_ITS_MACHINE = re.compile(r"\[Errno |out of memory|allocate memory", re.IGNORECASE)
"""In the reason of an engine whose disk or memory, and not the version, is at fault."""


Drained = Callable[[], Awaitable[Collection[str]]]
"""URLs of the replicas that shall get no new work."""


async def none_drained() -> Collection[str]:
    return ()


class Loader:
    """Loads versions into replicas. One with our plugin fetches the artifact by itself; another is told a local copy
    under `cache_dir`, which it must be able to read."""

    def __init__(
        self,
        store: ArtifactStore,
        engines: Sequence[Engine],
        cache_dir: Path,
        drained: Drained = none_drained,
    ) -> None:
        self._store = store
        self._engines = engines
        self._cache_dir = cache_dir.resolve()
        self._drained = drained

    async def healthy(self, base_digest: str) -> Sequence[Engine]:
        """The replicas of this base model that answer now; of those, drained ones only where there are no others.
        Raises EngineUnavailable when none answers."""
        engines = [engine for engine in self._engines if engine.base_digest == base_digest]
        answers = await asyncio.gather(*(engine.healthy() for engine in engines))
        serving = [engine for engine, healthy in zip(engines, answers, strict=True) if healthy]
        if not serving:
            urls = ", ".join(engine.url for engine in engines) or f"(none of base model {base_digest})"
            raise EngineUnavailable(urls, "no replica is healthy")
        return taking(serving, await self._drained())

    async def load(self, version: Version, engines: Sequence[Engine]) -> list[Engine]:
        """Load on each of these replicas, verified; returns those that did not hold it before.

        Loading is repeatable, so whoever fails half-way may try again. Raises ArtifactError, EngineError
        (VersionRefused where trying again would not help), and WrongBase for a replica of another base model.
        """
        for engine in engines:
            if engine.base_digest != version.lineage.base_digest:
                raise WrongBase(version.lineage.base_digest, engine.base_digest)
        held = await asyncio.gather(*(engine.holding() for engine in engines))
        lacking = [
            engine for engine, each in zip(engines, held, strict=True) if version.id not in each.serving
        ]
        if lacking:
            await self._store.files(version.artifact_digest)
            await asyncio.gather(*(self._bring(version, engine) for engine in lacking))
        return lacking

    async def _bring(self, version: Version, engine: Engine) -> None:
        try:
            if not await engine.pull(version.id, version.artifact_digest):
                path = await self._store.fetch(version.artifact_digest, self._cache_dir)
                await engine.load(version.id, path)
        except EngineRefused as error:
            of_files = error.status in _REFUSES_FILES and not _ITS_MACHINE.search(error.reason)
            if of_files and await engine.healthy():
                raise VersionRefused(engine.url, error.status, error.reason) from error
            raise

    async def probe(self, version_id: str, engines: Sequence[Engine], checks: Sequence[Check] = ()) -> None:
        """Raises ProbeFailed unless every replica answers with the version, in numbers, unlike the base, and passes the
        checks; VersionLost for one that has lost it meanwhile, EngineError for what it does not do for the base model
        either."""
        await asyncio.gather(*(_probe(version_id, engine, checks) for engine in engines))

    async def prove(
        self,
        version: Version,
        engines: Sequence[Engine],
        checks: Sequence[Check],
        watch: Stopwatch,
        fresh: list[Engine],
    ) -> None:
        """Load on these replicas and probe. fresh: gets those that did not hold it. Raises what the two raise."""
        fresh += await self.load(version, engines)
        watch.lap("load")
        await self.probe(version.id, engines, checks)
        watch.lap("probe")

    async def ensure(self, version: Version) -> Sequence[Engine]:
        """Load on every healthy replica of its base and probe it; returns them. Raises ArtifactError, EngineError,
        ProbeFailed."""
        engines = await self.healthy(version.lineage.base_digest)
        await self.load(version, engines)
        await self.probe(version.id, engines)
        return engines


async def _probe(version_id: str, engine: Engine, checks: Sequence[Check]) -> None:
    if version_id not in (await engine.holding()).serving:
        raise VersionLost(engine.url, f"it does not list {version_id} after loading")
    asked = [(name, text) for name in (version_id, BASE_NAME) for text in PROBES]
    try:
        odds = await asyncio.gather(*(_odds(engine, name, text) for name, text in asked))
    except EngineRefused as error:
        if error.status not in _REFUSES_QUESTION:
            raise
        await _odds(engine, BASE_NAME, PROBES[0])  # where the base cannot answer either, this raises
        raise ProbeFailed(version_id, engine.url, f"it does not answer: {error.detail}") from error
    answers, plain = odds[: len(PROBES)], odds[len(PROBES) :]
    if any(not math.isfinite(value) for answer in answers for value in answer.values()):
        raise ProbeFailed(version_id, engine.url, "its probabilities are not numbers")
    if not any(_differ(one, other) for one, other in zip(answers, plain, strict=True)):
        raise ProbeFailed(version_id, engine.url, "it answers exactly like the base model")
    await asyncio.gather(*(_check(version_id, engine, check) for check in checks))


async def _check(version_id: str, engine: Engine, check: Check) -> None:
    said = (await _answer(engine, version_id, check.question, _CHECK_TOKENS)).texts[0]
    if not check.passed(said):
        reason = f"asked {check.question!r} it says {said[:_SHOWN]!r}, without {check.contains!r}"
        raise ProbeFailed(version_id, engine.url, reason)


async def _odds(engine: Engine, model: str, text: str) -> Mapping[str, float]:
    """Log-probabilities of the likeliest first tokens of an answer."""
    answer = await _answer(engine, model, text, _PROBE_TOKENS, _TOP_LOGPROBS)
    return answer.first_token_logprobs or {}


async def _answer(
    engine: Engine, model: str, text: str, max_tokens: int, top_logprobs: int | None = None
) -> Completion:
    """Raises VersionLost where the engine does not find a version, else what `Engine.chat` raises."""
    messages = [{"role": "user", "content": text}]
    try:
        return await engine.chat(model, messages, max_tokens, top_logprobs=top_logprobs)
    except EngineRefused as error:
        if error.status == _UNKNOWN and model != BASE_NAME:
            raise VersionLost(engine.url, error.detail) from error
        raise


def _differ(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    """Whether two lists of likeliest tokens come from different weights; tokens at the list's end may differ
    by noise."""
    common = one.keys() & other.keys()
    return not common or max(abs(one[token] - other[token]) for token in common) > _NOISE
