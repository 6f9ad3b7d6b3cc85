"""One process's side of the engines' slots: which adapters it may ask which replica for, and who waits for one.

A request of a version that holds a slot on its replica passes at once. Only a change of what is held costs a round
trip (`adapters.slot_table` has the rule). Requests to the base model take no slot.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from adapters.errors import EngineUnavailable
from adapters.slot_board import NO_SLOT, Board, Slot, Waiter
from adapters.slot_ledger import SLOTS_CHANNEL
from adapters.slot_table import TENURE_S, Grants, SlotTable, Word
from adapters.tasks import end

log = logging.getLogger(__name__)

POLL_S = 0.05
"""How often a worker asks again while versions wait for slots."""
LEDGER_S = 0.25
"""A ledger that takes longer is as good as gone."""
AGAIN_S = 1.0
ALONE = "alone"
NO_SLOT_FREE = "no slot for this version is free"


class SlotLedger(Protocol):
    """Where the grants are. Raises redis' errors, OSError, TimeoutError."""

    async def exchange(self, url: str, word: Word) -> Grants: ...


class Slots:
    """The slots of all replicas in one process.

    count: slots of each engine. alone: how many of them are this process's when the ledger is gone. bound: how many
    requests may wait. patience_s: how long. keep: whether a slot without requests is kept for the next one, until
    somebody waits for it. on_wait: called whenever one more waits.
    """

    def __init__(
        self,
        ledger: SlotLedger,
        urls: Sequence[str],
        count: int,
        alone: Callable[[], int],
        bound: int,
        patience_s: float,
        clock: Callable[[], float] = time.monotonic,
        *,
        keep: bool = True,
    ) -> None:
        self._ledger = ledger
        self._boards = {url: Board(url, count, clock, self._poke, keep) for url in urls}
        self._count = count
        self._part = alone
        self._bound = bound
        self._patience_s = patience_s
        self._clock = clock
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._alone: dict[str, SlotTable] = {}
        self._away_until = 0.0
        self.waiting = 0
        self.on_wait: Callable[[], None] = lambda: None

    async def enter(self, url: str, version_id: str | None) -> Slot:
        """A slot for one request. Raises EngineUnavailable when too many wait or it would take too long."""
        if version_id is None:
            return NO_SLOT
        board = self._boards[url]
        return board.enter(version_id) or await self._wait(board, version_id)

    async def _wait(self, board: Board, version_id: str) -> Slot:
        if self.waiting >= self._bound:
            raise EngineUnavailable(board.url, NO_SLOT_FREE)
        waiter = Waiter(self._clock(), asyncio.get_running_loop().create_future())
        self.waiting += 1
        board.waiting += 1
        board.wait(version_id, waiter)
        self.on_wait()
        try:
            async with asyncio.timeout(self._patience_s):
                return await waiter.ready
        except TimeoutError as error:
            board.give_up(version_id, waiter)
            raise EngineUnavailable(board.url, NO_SLOT_FREE) from error
        except asyncio.CancelledError:
            board.give_up(version_id, waiter)
            raise
        finally:
            self.waiting -= 1
            board.waiting -= 1

    def waiting_at(self, urls: Iterable[str]) -> int:
        """Requests that wait for a slot of these replicas."""
        return sum(self._boards[url].waiting for url in urls) if self.waiting else 0

    def changed(self, url: str) -> None:
        """Another worker's exchange changed something for this one, or wants a slot back."""
        board = self._boards.get(url)
        if board is not None:
            board.short = board.short or 1
            self._poke(board)

    def lost(self) -> None:
        """The ledger seems to be away, or to have begun anew: see whether it is, tell it what runs here, and leave
        what is held beyond this process's part."""
        for board in self._boards.values():
            if board.grants:
                self._poke(board)

    async def close(self) -> None:
        """Gives back what is held."""
        await end(*list(self._asking.values()))
        for board in self._boards.values():
            word = Word(frozenset(board.grants.keys() | board.released))
            with contextlib.suppress(RedisError, OSError):
                async with asyncio.timeout(LEDGER_S):
                    await self._ledger.exchange(board.url, word)

    def _poke(self, board: Board) -> None:
        board.wake.set()
        if board.url not in self._asking:
            self._asking[board.url] = asyncio.create_task(self._ask(board), name=f"slots {board.url}")

    async def _ask(self, board: Board) -> None:
        """Until nothing is left to ask for; while versions wait, or the ledger is away, again and again."""
        try:
            while board.wake.is_set() or board.contended or board.url in self._alone:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(POLL_S if board.contended else AGAIN_S):
                        await board.wake.wait()
                board.wake.clear()
                word = board.word(self._clock())
                board.apply(word, await self._exchange(board, word))
        finally:
            del self._asking[board.url]

    async def _exchange(self, board: Board, word: Word) -> Grants:
        now = self._clock()
        if now >= self._away_until:
            try:
                async with asyncio.timeout(LEDGER_S):
                    grants = await self._ledger.exchange(board.url, word)
            except (RedisError, OSError) as error:
                log.warning("slots are this process's share until Redis is back: %s", error)
                self._away_until = now + AGAIN_S
            else:
                self._alone.pop(board.url, None)
                return grants
        table = self._alone.get(board.url)
        if table is None:
            held = {version_id: {ALONE: now - TENURE_S} for version_id in board.grants}
            table = self._alone[board.url] = SlotTable(self._count, held)
        table.slots = self._part()
        return table.exchange(ALONE, word, now, (ALONE,))


class SlotListener:
    """Hears when another worker has changed something. What it misses is found out by asking."""

    def __init__(self, redis: Redis, slots: Slots) -> None:
        self._redis = redis
        self._slots = slots
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="slot-listener")

    async def close(self) -> None:
        if self._task:
            await end(self._task)

    async def _run(self) -> None:
        back = False
        while True:
            try:
                async with self._redis.pubsub() as channel:
                    async with asyncio.timeout(AGAIN_S):  # a Redis may take a connection and say nothing
                        await channel.subscribe(SLOTS_CHANNEL)
                    if back:  # perhaps one that knows nothing: by now all heartbeats are back, too
                        self._slots.lost()
                    await self._listen(channel)
            except (RedisError, OSError):
                back = True
                self._slots.lost()
                await asyncio.sleep(AGAIN_S)

    async def _listen(self, channel: PubSub) -> None:
        """Raises TimeoutError when a ping is not answered, redis' errors, OSError."""
        pinged = False
        while True:
            async with asyncio.timeout(2 * AGAIN_S):  # either may connect again
                heard = await channel.get_message(timeout=AGAIN_S)
                if heard is None and pinged:
                    raise TimeoutError
                if heard is None:
                    await channel.ping()
            pinged = heard is None
            if heard is not None and heard["type"] == "message":
                self._slots.changed(bytes(heard["data"]).decode())
