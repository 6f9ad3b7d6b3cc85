"""Whose request an engine gets next, when there are more than it takes at once.

Start-time fair queueing (Goyal, Vin and Cheng, 1996): every request has a start tag in virtual time, which runs for
each tenant by what its requests cost over its weight; the lowest tag goes next. So a tenant that floods waits behind
its own requests. While the engine has room, a request passes without waiting.
"""

import asyncio
import heapq
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from gateway.errors import EngineUnavailable

FORGET_ABOVE = 4096
"""Tenants with a tag, before those whose tag no longer matters are dropped."""
LAST = math.inf
"""The start tag of whoever goes last."""
SMOOTHING = 0.1
NOTHING = 1e-9
"""Weight of whoever goes last."""
SPARE = 64
"""Waiters that gave up and may stay in the heap."""
UNKNOWN_WAIT_S = 1.0
"""Before any request has ended."""


@dataclass(eq=False)
class Waiter:
    """One request in the queue. `cost`: over its tenant's weight."""

    tenant_id: str
    start: float
    cost: float
    ready: "asyncio.Future[None]"


@dataclass(eq=False)
class Line:
    """One tenant's waiters, oldest first."""

    weight: float
    waiters: dict[Waiter, None] = field(default_factory=dict)

    @property
    def length(self) -> float:
        return len(self.waiters) / self.weight


class Place:
    """One request's place at the engine. `leave` may be called more than once."""

    def __init__(self, turns: "Turns") -> None:
        self._turns: Turns | None = turns
        self._since = turns.clock()

    def leave(self) -> None:
        turns, self._turns = self._turns, None
        if turns is not None:
            turns.left(self._since)


class Turns:
    """places: how many requests the engines take from this worker at once. bound: how many may wait. patience_s: how
    long."""

    def __init__(
        self,
        places: Callable[[], int],
        bound: int,
        patience_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.clock = clock
        self._places = places
        self._bound = bound
        self._patience_s = patience_s
        self._running = 0
        self._waiting = 0
        self._weight = 0.0
        self._now = 0.0
        """Virtual time: the start tag of what went last."""
        self._finish: dict[str, float] = {}
        self._forget_above = FORGET_ABOVE
        """Twice what was kept the last time, so that looking through all costs each request little."""
        self._lines: dict[str, Line] = {}
        self._heap: list[tuple[float, int, Waiter]] = []
        self._number = count()
        self._service_s: float | None = None

    async def enter(self, tenant_id: str, weight: float, cost: float) -> Place:
        """cost: in any unit that is the same for all, such as tokens.

        Raises EngineUnavailable, with the time after which trying again makes sense, when the queue is full or the
        turn would come too late.
        """
        if self._has_room():
            self._now = max(self._now, self._tag(tenant_id, cost / weight))
            self._running += 1
            return Place(self)
        return await self._turn_of(self._queue(tenant_id, weight, cost / weight), weight)

    async def enter_last(self, name: str) -> Place:
        """A place that nobody else wants: after all who wait, also those who come meanwhile, and at nobody's cost.

        Raises EngineUnavailable when the queue is full, or no turn comes.
        """
        if self._has_room():
            self._running += 1
            return Place(self)
        if self._waiting >= self._bound:
            raise self._overloaded(name, NOTHING)
        return await self._turn_of(self._line_up(name, NOTHING, LAST, 0.0), NOTHING)

    def _has_room(self) -> bool:
        return not self._waiting and self._running < self._places()

    async def _turn_of(self, waiter: Waiter, weight: float) -> Place:
        try:
            async with asyncio.timeout(self._patience_s):
                await waiter.ready
        except TimeoutError as error:
            self._give_up(waiter)
            raise self._overloaded(waiter.tenant_id, weight) from error
        except asyncio.CancelledError:
            self._give_up(waiter)
            raise
        return Place(self)

    def left(self, since: float) -> None:
        """A request that got its place at that time has ended."""
        took = self.clock() - since
        before = took if self._service_s is None else self._service_s
        self._service_s = before + SMOOTHING * (took - before)
        self._running -= 1
        if self._waiting:
            self.serve()

    def serve(self) -> None:
        """Let in whom there are places for. Called by whoever makes the number of places grow. Who was told to stop
        waiting and has not done so yet still counts as waiting, and is passed over."""
        places = self._places()
        while self._heap and self._running < places:
            start, _, waiter = heapq.heappop(self._heap)
            if waiter.ready.done():
                continue
            self._remove(waiter)
            if start < LAST:
                self._now = max(self._now, start)
            self._running += 1
            waiter.ready.set_result(None)

    def wait_s(self, tenant_id: str, weight: float) -> float:
        """How long one more request of this tenant would wait, as the engine works now."""
        if self._service_s is None:
            return UNKNOWN_WAIT_S
        line = self._lines.get(tenant_id)
        mine = len(line.waiters) if line else 0
        all_weights = self._weight + (0.0 if line else weight)
        ahead = min(float(self._waiting), mine * all_weights / weight)
        return (ahead + 1) * self._service_s / self._places()

    # -- the queue

    def _queue(self, tenant_id: str, weight: float, cost: float) -> Waiter:
        late = self._service_s is not None and self.wait_s(tenant_id, weight) > self._patience_s
        if late or (self._waiting >= self._bound and not self._make_room(tenant_id, weight)):
            raise self._overloaded(tenant_id, weight)
        return self._line_up(tenant_id, weight, self._tag(tenant_id, cost), cost)

    def _line_up(self, tenant_id: str, weight: float, start: float, cost: float) -> Waiter:
        line = self._lines.get(tenant_id)
        if line is None:
            line = self._lines[tenant_id] = Line(weight)
            self._weight += weight
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = Waiter(tenant_id, start, cost, ready)
        line.waiters[waiter] = None
        self._waiting += 1
        heapq.heappush(self._heap, (waiter.start, next(self._number), waiter))
        return waiter

    def _tag(self, tenant_id: str, cost: float) -> float:
        """The start tag of a tenant's next request."""
        if len(self._finish) > self._forget_above:
            self._finish = {name: tag for name, tag in self._finish.items() if tag > self._now}
            self._forget_above = max(FORGET_ABOVE, 2 * len(self._finish))
        start = max(self._now, self._finish.get(tenant_id, 0.0))
        self._finish[tenant_id] = start + cost
        return start

    def _make_room(self, tenant_id: str, weight: float) -> bool:
        """Push out the newest of the longest line, unless this tenant has its part of the queue already."""
        line = self._lines.get(tenant_id)
        weights = self._weight + (0.0 if line else weight)
        name, longest = max(self._lines.items(), key=lambda item: item[1].length)
        whole = line is not None and line.length >= self._bound / weights
        if name == tenant_id or (whole and longest.weight > NOTHING):
            return False
        newest = next(reversed(longest.waiters))
        self._drop(newest)
        newest.ready.set_exception(self._overloaded(name, longest.weight))
        return True

    def _give_up(self, waiter: Waiter) -> None:
        """Whoever waited has stopped waiting, perhaps just as the turn came."""
        ready = waiter.ready
        if ready.done() and not ready.cancelled() and ready.exception() is None:
            self._running -= 1
            self.serve()
            return
        self._drop(waiter)
        ready.cancel()
        if len(self._heap) > 2 * self._waiting + SPARE:
            self._heap = [entry for entry in self._heap if not entry[2].ready.done()]
            heapq.heapify(self._heap)
        self.serve()  # whoever came since it was passed over has queued behind it

    def _drop(self, waiter: Waiter) -> None:
        """A request that is not served costs nothing: its tag goes to the next."""
        if self._remove(waiter) and self._finish.get(waiter.tenant_id) == waiter.start + waiter.cost:
            self._finish[waiter.tenant_id] = waiter.start

    def _remove(self, waiter: Waiter) -> bool:
        line = self._lines.get(waiter.tenant_id)
        if line is None or waiter not in line.waiters:
            return False
        del line.waiters[waiter]
        self._waiting -= 1
        if not line.waiters:
            del self._lines[waiter.tenant_id]
            self._weight = self._weight - line.weight if self._lines else 0.0
        return True

    def _overloaded(self, tenant_id: str, weight: float) -> EngineUnavailable:
        wait_s = max(self.wait_s(tenant_id, weight), 0.001)
        return EngineUnavailable("The engine is overloaded.", retry_after_s=wait_s)
