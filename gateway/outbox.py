"""Carries out the steps that a correction owes to memory: at once for whoever took the correction, later by the
drain."""

import logging
from collections.abc import Sequence

from retrieval.client import RetrievalClient
from retrieval.errors import RetrievalError
from retrieval.types import MemoryEntry
from training.outbox import MEMORY_PUT, Outbox, OutboxStep

log = logging.getLogger(__name__)


class Delivery:
    """Steps are idempotent, so that one carried out twice does no harm."""

    def __init__(self, outbox: Outbox, retrieval: RetrievalClient) -> None:
        self._outbox = outbox
        self._retrieval = retrieval

    async def deliver(self, steps: Sequence[OutboxStep]) -> bool:
        """Whether all steps are done; what is not stays in the outbox, in order, and is done later."""
        for step in steps:
            try:
                await self._carry_out(step)
            except RetrievalError as error:
                log.warning("%s of %s waits in the outbox: %s", step.kind, step.subject, error)
                return False
            await self._outbox.done(step.id)
        return True

    async def run_once(self) -> int:
        """One pass over what is owed; returns how many steps were done. Stops at the first that fails: retrieval
        is down, and order counts."""
        done = 0
        for step in await self._outbox.pending():
            if not await self.deliver([step]):
                await self._outbox.failed(step.id)
                break
            done += 1
        return done

    async def _carry_out(self, step: OutboxStep) -> None:
        if step.kind == MEMORY_PUT:
            await self._retrieval.put_memory(MemoryEntry(**step.payload))
        else:
            await self._retrieval.delete_memory(step.payload["tenant_id"], step.payload["id"])
