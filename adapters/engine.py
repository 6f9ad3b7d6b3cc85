"""The port to an engine replica: what Graft asks of the software that holds the base model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class Completion:
    """The engine's answer to one chat request."""

    texts: Sequence[str]
    """One per asked-for choice, in order."""
    prompt_tokens: int
    completion_tokens: int
    """Over all choices."""
    first_token_logprobs: Mapping[str, float] | None = None
    """Token to natural-log probability at the first choice's first token; None when not asked for."""


@dataclass(frozen=True)
class Holding:
    """What a replica says of its versions, by id."""

    resident: frozenset[str]
    """It serves them, or still holds them in memory."""
    pinned: frozenset[str] | None
    """Those that stay in its memory whatever else is asked for; None: it cannot pin."""
    unserved: frozenset[str] = frozenset()
    """Residents that it does not know by name, or whose files are gone: to serve, they must be loaded again."""

    @property
    def serving(self) -> frozenset[str]:
        return self.resident - self.unserved


class Engine(Protocol):
    """One replica. A version's name inside the engine is its id."""

    @property
    def url(self) -> str:
        """Names the replica in results, logs and errors."""

    @property
    def base_digest(self) -> str:
        """Of the base model that the replica holds; no version of another one is loaded there."""

    async def pull(self, version_id: str, digest: str) -> bool:
        """Have the replica fetch an artifact by itself and load it; False when it cannot fetch, so that `load` is left.

        Pulling twice is no error. Raises EngineRefused, EngineUnavailable.
        """

    async def load(self, version_id: str, path: Path) -> None:
        """Make a version servable from files that the replica can read. Loading it twice is no error.

        Raises EngineRefused, EngineUnavailable.
        """

    async def unload(self, version_id: str) -> None:
        """Take a version out of the replica; requests in flight finish. Unloading what is not there is no error.

        Raises EngineRefused, EngineUnavailable.
        """

    async def holding(self) -> Holding:
        """Raises EngineRefused, EngineUnavailable."""

    async def resident(self) -> frozenset[str]:
        """That part of `holding`. Raises as it does."""

    async def pin(self, version_id: str) -> None:
        """Keep a loaded version in memory. Pinning twice is no error.

        Raises EngineRefused (409: it is not loaded, or as many are pinned as may be; 404: the replica cannot pin),
        EngineUnavailable.
        """

    async def unpin(self, version_id: str) -> None:
        """Unpinning what is not pinned is no error. Raises as `pin` does."""

    async def healthy(self) -> bool:
        """Whether the replica says that it can serve; never raises."""

    async def chat(
        self,
        model: str,
        messages: Sequence[Mapping[str, Any]],
        max_tokens: int,
        temperature: float = 0.0,
        n: int = 1,
        seed: int | None = None,
        top_logprobs: int | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> Completion:
        """One whole answer by `base` or a version id. tools: functions that the prompt offers; a call comes as the text
        that the model wrote. Raises EngineRefused, EngineUnavailable."""
