"""What retrieval adds to a request: the tenant's passages, and the corrections that its version has not
learned."""

import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from gateway.errors import InvalidRequest, RetrievalFailed
from gateway.policy import Policy
from gateway.snapshot import TenantView
from retrieval.client import RetrievalClient
from retrieval.errors import RetrievalTimeout, RetrievalUnavailable
from retrieval.prompt import render
from retrieval.types import Found

log = logging.getLogger(__name__)

MAX_K = 50


class Wants(NamedTuple):
    """How much of retrieval a request uses, policy and headers together."""

    k: int
    memory: bool

    @property
    def nothing(self) -> bool:
        return self.k == 0 and not self.memory


class Context(NamedTuple):
    """The text to put into the system message, and where it came from."""

    text: str = ""
    passage_ids: tuple[str, ...] = ()
    memory_ids: tuple[str, ...] = ()
    degraded: str | None = None
    """`timeout` or `unavailable` when the tenant's policy lets a request go on without retrieval."""
    scores: Mapping[str, float] = MappingProxyType({})
    """Of each passage and correction that is in the text, by id."""


def wants(policy: Policy, retrieval_header: str | None, memory_header: str | None) -> Wants:
    """retrieval_header: `X-Retrieval` (`off`, `on`, a number of passages). memory_header: `X-Memory` (`off`,
    `on`).

    A header narrows or restores what the policy allows; it cannot enable what the policy disables.
    Raises InvalidRequest.
    """
    allowed = policy.retrieval.k if policy.retrieval.enabled else 0
    k = allowed if retrieval_header is None else _passages(retrieval_header.strip().lower(), policy)
    return Wants(k, policy.memory.enabled and _switch(memory_header))


def _passages(value: str, policy: Policy) -> int:
    if value not in ("on", "off") and not (value.isascii() and value.isdigit() and int(value) <= MAX_K):
        raise InvalidRequest(f"X-Retrieval is `on`, `off` or 0 to {MAX_K}.", param="X-Retrieval")
    if value == "off" or not policy.retrieval.enabled:
        return 0
    return policy.retrieval.k if value == "on" else int(value)


def _switch(value: str | None) -> bool:
    if value is None:
        return True
    if value.strip().lower() not in ("on", "off"):
        raise InvalidRequest("X-Memory is `on` or `off`.", param="X-Memory")
    return value.strip().lower() == "on"


class ContextSource:
    """Asks the retrieval service, once per request and under the tenant's deadline."""

    def __init__(self, retrieval: RetrievalClient) -> None:
        self._retrieval = retrieval

    async def gather(
        self, tenant: TenantView, version_id: str | None, question: str, wanted: Wants
    ) -> Context:
        """Raises RetrievalFailed when retrieval fails and the tenant's policy requires it."""
        if wanted.nothing or not question.strip():
            return Context()
        rules = tenant.policy.retrieval
        try:
            found = await self._retrieval.search(
                tenant.id, question, k=wanted.k, memory=wanted.memory, timeout_s=rules.deadline_ms / 1000
            )
        except RetrievalUnavailable as error:
            log.warning("retrieval for %s: %s", tenant.id, error)
            if rules.mode == "required":
                raise RetrievalFailed("Retrieval is not available.", retry_after_s=1.0) from error
            return Context(degraded="timeout" if isinstance(error, RetrievalTimeout) else "unavailable")
        return context_of(found, tenant.learned.get(version_id or "", frozenset()))


def context_of(found: Found, learned: frozenset[str]) -> Context:
    """Memory that the version already answers by itself is left out: it would only lengthen the prompt."""
    memory = found.needed(learned)
    text = render(
        [(passage.title, passage.text) for passage in found.passages],
        [(hit.question, hit.answer) for hit in memory],
    )
    return Context(
        text,
        tuple(passage.id for passage in found.passages),
        tuple(hit.id for hit in memory),
        scores={
            **{passage.id: passage.score for passage in found.passages},
            **{hit.id: hit.score for hit in memory},
        },
    )
