"""Carries out the steps that a correction owes to memory when whoever took the correction could not."""

import logging

from retrieval.client import RetrievalClient
from retrieval.errors import RetrievalError
from retrieval.types import MemoryEntry
from training.feedback import MEMORY_DELETE, MEMORY_PUT, FeedbackStore, OutboxStep

log = logging.getLogger(__name__)


class OutboxDrain:
    """One pass per call of `run_once`. Steps are idempotent, so that one carried out twice does no harm."""

    def __init__(self, feedback: FeedbackStore, retrieval: RetrievalClient) -> None:
        self._feedback = feedback
        self._retrieval = retrieval

    async def run_once(self) -> int:
        """Returns how many steps were done. Stops at the first that fails: retrieval is down, and order counts."""
        done = 0
        for step in await self._feedback.pending():
            try:
                await self._carry_out(step)
            except RetrievalError as error:
                log.warning("memory is %d step(s) behind: %s", step.attempts + 1, error)
                await self._feedback.failed(step.id)
                break
            await self._feedback.done(step.id)
            done += 1
        return done

    async def _carry_out(self, step: OutboxStep) -> None:
        payload = step.payload
        if step.kind == MEMORY_PUT:
            await self._retrieval.put_memory(
                MemoryEntry(payload["id"], payload["tenant_id"], payload["question"], payload["answer"])
            )
        elif step.kind == MEMORY_DELETE:
            await self._retrieval.delete_memory(payload["tenant_id"], payload["id"])
        else:
            log.error("outbox step %d has the unknown kind %s", step.id, step.kind)
