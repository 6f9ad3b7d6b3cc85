"""Forwarding to the engine: pooled connections, streamed bodies, retries only before the first byte."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import orjson

from adapters.errors import EngineUnavailable as NoSlot
from adapters.slot_board import NO_SLOT, Slot
from adapters.slots import Slots
from gateway.engine_connection import EngineHttpError, Silent, TooLong
from gateway.engine_http import Answer, Origin
from gateway.errors import EngineUnavailable, InvalidRequest, Timeout
from gateway.leases import Leases
from gateway.replicas import Replica, Replicas
from gateway.routing import Route

log = logging.getLogger(__name__)

ABORT_PATH = "/inference/v1/abort_requests"
QUICK_S = 2.0
"""What an engine is asked beside generation."""
ATTEMPTS = 4
BACKOFF_S = 0.05
ABSENT_WAIT_S = 15.0
"""How long a request waits for its version to be loaded: the reconciler sees its lease and loads it."""
ABSENT_POLL_S = 0.1

BUSY = frozenset({502, 503, 504})
"""What a replica, or a proxy before it, says instead of answering."""


class RetryBudget:
    """Retries are a part of all requests, whatever fails: else failing engines get several times the load."""

    most = 100.0
    share = 0.2
    """What each request adds."""

    def __init__(self) -> None:
        self._left = self.most

    def earn(self) -> None:
        self._left = min(self.most, self._left + self.share)

    def spend(self) -> bool:
        """Whether one more retry may be made."""
        if self._left < 1:
            return False
        self._left -= 1
        return True


@dataclass(slots=True)
class Call:
    """One request on its way to an engine. engine_ids: how the engine calls the work of an attempt."""

    route: Route
    body: bytes
    request_id: str
    path: str
    engine_ids: Callable[[str], Sequence[str]]
    trace: Mapping[str, str] = field(default_factory=dict)
    """Headers of W3C's trace context."""
    retries: int = 0
    tried: set[str] = field(default_factory=set)
    replica: Replica | None = None
    """The one that is being asked."""
    slot: Slot = NO_SLOT
    """Held there."""
    answer: Answer | None = None
    """What has come from there."""

    @property
    def attempt_id(self) -> str:
        """Unlike for every attempt: an engine may still be busy with the one before."""
        return f"{self.request_id}-{self.retries}" if self.retries else self.request_id

    def arrive(self, replica: Replica, slot: Slot) -> None:
        self.replica, self.slot = replica, slot
        replica.running += 1

    def leave(self) -> None:
        """The replica has nothing more to do with it. May be called more than once."""
        if self.answer is not None:
            self.answer.leave()
            self.answer = None
        self.slot.release()
        if self.replica is not None:
            self.replica.running -= 1
            self.replica = None


class Reply(NamedTuple):
    """An engine's whole answer."""

    status: int
    body: bytes


class Proxy:
    """token: the engines' API key. timeout_s: longest silence of an engine."""

    def __init__(
        self, replicas: Replicas, slots: Slots, leases: Leases, token: str, timeout_s: float
    ) -> None:
        self._replicas = replicas
        self._slots = slots
        self._leases = leases
        self._budget = RetryBudget()
        self._aborts: set[asyncio.Task[None]] = set()
        self._origins = {url: Origin(url, token, timeout_s) for url in replicas.urls}

    async def close(self) -> None:
        await asyncio.gather(*self._aborts)
        for origin in self._origins.values():
            origin.close()

    async def answer(self, call: Call) -> Reply:
        """The engine's answer, whatever its status. Raises EngineUnavailable or Timeout."""
        try:
            answer = await self._until_resident(call, whole=True)
            return Reply(answer.status, answer.body)
        finally:
            call.leave()

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[Answer]:
        """The engine's answer as it comes. Leaving the context ends the engine's work.

        Raises EngineUnavailable or Timeout before the first byte; afterwards reading raises EngineHttpError.
        """
        try:
            yield await self._until_resident(call, whole=False)
        finally:
            call.leave()

    def ended(self, call: Call) -> None:
        """The engine's stream came to its end."""
        if call.replica is not None:
            self._replicas.succeeded(call.replica)

    def broke_off(self, call: Call) -> None:
        """The engine's answer ended before its end."""
        if call.replica is not None:
            self._replicas.failed(call.replica)

    async def healthy(self) -> Sequence[bool]:
        """Whether each replica says that it is ready."""
        return await asyncio.gather(*(self.well(url) for url in self._replicas.urls))

    async def well(self, url: str) -> bool:
        """Whether this replica does."""
        try:
            return await self._quick(url, "GET", "/health") == 200
        except (EngineHttpError, TimeoutError):
            return False

    async def _quick(self, url: str, method: str, path: str, body: bytes = b"") -> int:
        """The status of an answer that must not take long."""
        async with asyncio.timeout(QUICK_S):
            with await self._origins[url].ask(method, path, {}, body) as answer:
                await answer.read()
        return answer.status

    async def _ask(self, replica: Replica, call: Call, whole: bool) -> Answer:
        headers = {"x-request-id": call.attempt_id, **call.trace}
        origin, alone = self._origins[replica.url], replica.running == 1
        answer = await origin.ask("POST", call.path, headers, call.body, alone)
        call.answer = answer
        if whole:
            await answer.read()
        return answer

    def _abort(self, replica: Replica, call: Call) -> None:
        """Tell the engine to stop: it may notice late that nobody listens any more."""
        task = asyncio.create_task(self._send_abort(replica.url, call.engine_ids(call.attempt_id)))
        self._aborts.add(task)
        task.add_done_callback(self._aborts.discard)

    async def _send_abort(self, url: str, engine_ids: Sequence[str]) -> None:
        try:
            await self._quick(url, "POST", ABORT_PATH, orjson.dumps({"request_ids": list(engine_ids)}))
        except (EngineHttpError, TimeoutError) as error:
            log.warning("%s could not be stopped: %r", engine_ids[0], error)

    async def _until_resident(self, call: Call, whole: bool) -> Answer:
        """whole: the answer's body too. A version that no engine holds right now (restarted, pinned and evicted) is
        waited for: the request's own lease makes it wanted."""
        self._budget.earn()
        give_up = time.monotonic() + ABSENT_WAIT_S
        while True:
            answer = await self._attempt(call, whole)
            if answer.status != 404 or call.route.version_id is None:
                return answer
            if time.monotonic() >= give_up:
                raise EngineUnavailable("This version is not loaded yet.", retry_after_s=1.0)
            self._leases.lack()
            call.retries += 1
            if call.replica is not None:
                call.tried.add(call.replica.url)
            call.leave()
            await asyncio.sleep(ABSENT_POLL_S)

    async def _attempt(self, call: Call, whole: bool) -> Answer:
        """Send until one replica takes it. Every replica is tried once before any is tried again; one that says
        that it cannot answer is not."""
        for attempt in range(ATTEMPTS):
            replica = self._untried(call) or await self._again(call, attempt)
            call.leave()
            try:
                call.arrive(replica, await self._slots.enter(replica.url, call.route.version_id))
            except NoSlot as error:
                raise EngineUnavailable("The engine is overloaded.", retry_after_s=1.0) from error
            try:
                answer = await self._ask(replica, call, whole)
            except asyncio.CancelledError:
                self._abort(replica, call)
                raise
            except Silent as error:
                self._failed(replica, call)
                self._abort(replica, call)
                raise Timeout("The engine did not answer in time.") from error
            except TooLong as error:  # again, it would be as long; and the replica is well
                self._abort(replica, call)
                raise InvalidRequest("The answer is too long to be sent whole: stream it.") from error
            except EngineHttpError:
                self._failed(replica, call)
            else:
                if answer.status not in BUSY:
                    begins = answer.status == 200 and not whole
                    (self._replicas.answered if begins else self._replicas.succeeded)(replica)
                    return answer
                self._failed(replica, call)
                if not self._replicas.untried(call.route.base, call.tried):
                    return answer
            if not self._budget.spend():
                break
            call.retries += 1
        raise EngineUnavailable("No engine can be reached.", retry_after_s=1.0)

    def _untried(self, call: Call) -> Replica | None:
        return self._replicas.pick(call.route.base, call.route.engine_model, call.tried)

    async def _again(self, call: Call, attempt: int) -> Replica:
        """After all replicas were tried, a pause before the first of them again."""
        call.tried.clear()
        await asyncio.sleep(BACKOFF_S * 2**attempt)
        replica = self._untried(call)
        if replica is None:
            raise EngineUnavailable("No engine can be reached.", retry_after_s=1.0)
        return replica

    def _failed(self, replica: Replica, call: Call) -> None:
        self._replicas.failed(replica)
        call.tried.add(replica.url)
