"""Carries out the steps that a correction owes to memory: at once for whoever took the correction, later by the
drain."""

import logging

from retrieval.client import RetrievalClient
from retrieval.errors import RetrievalError
from retrieval.types import MemoryEntry
from training.drafts import Recorded
from training.errors import FeedbackNotFound
from training.feedback import FeedbackStore
from training.outbox import Outbox, OutboxStep, remembered

log = logging.getLogger(__name__)


class Delivery:
    """Makes memory hold of a correction what the record says, in any number of workers at once.

    Each reads the record before it writes to memory and after, and its step is owed until both agree. So a write that
    came late is put right by whoever made it, and where that one was killed, by the next to carry out the step.
    """

    def __init__(self, outbox: Outbox, feedback: FeedbackStore, retrieval: RetrievalClient) -> None:
        self._outbox = outbox
        self._feedback = feedback
        self._retrieval = retrieval

    async def deliver(self, recorded: Recorded) -> bool:
        """Carry out what a write owes to memory. Whether nothing more is owed of its corrections, by nobody; what is
        stays in the outbox and is done later."""
        for step in recorded.steps:
            if not await self._carried_out(step):
                return False
        return not await self._outbox.owed({recorded.feedback.id, *(step.subject for step in recorded.steps)})

    async def run_once(self) -> int:
        """One pass over what is owed; returns how many steps were done. Stops at the first that fails: retrieval
        is down."""
        done = 0
        for step in await self._outbox.pending():
            if not await self._carried_out(step):
                await self._outbox.failed(step.id)
                break
            done += 1
        return done

    async def _carried_out(self, step: OutboxStep) -> bool:
        try:
            await self._agree(step)
        except RetrievalError as error:
            log.warning("%s of %s waits in the outbox: %s", step.kind, step.subject, error)
            return False
        await self._outbox.done(step)
        return True

    async def _agree(self, step: OutboxStep) -> None:
        while True:
            wanted = await self._wanted(step)
            if wanted is None:
                await self._retrieval.delete_memory(step.payload["tenant_id"], step.subject)
            else:
                await self._retrieval.put_memory(wanted)
            if await self._wanted(step) == wanted:
                return

    async def _wanted(self, step: OutboxStep) -> MemoryEntry | None:
        """What memory is to hold of the step's correction, by the record: nothing of one that is gone from it."""
        try:
            entry = await self._feedback.get(step.payload["tenant_id"], step.subject)
        except FeedbackNotFound:
            return None
        if entry.correction is None or not remembered(entry):
            return None
        return MemoryEntry(entry.id, entry.tenant_id, entry.question, entry.correction)
