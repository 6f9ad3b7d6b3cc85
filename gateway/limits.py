"""What tenants and keys may use per minute, per day and at once, counted over all workers.

A worker spends what it holds (`gateway.quota`) and asks the ledger only when that does not suffice; a loop tells the
ledger what was spent and fetches what will be needed. docs/limits.md has the whole picture.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

from redis.exceptions import RedisError

from adapters.tasks import end
from gateway.accounts import DAY, DAY_S, PLACES, REQUESTS, TOKENS, Account, Amounts, headers
from gateway.errors import RateLimited
from gateway.policy import Caps
from gateway.quota import STOCK_SHARE, Ask, Grant, Purse, Share
from gateway.reservation import Reservation

log = logging.getLogger(__name__)

T = TypeVar("T")

SYNC_S = 1.0
"""How often every account in use tells what was spent, where that is a noticeable part of a limit."""
UNNOTICED = 4
"""Synchronisations that go by where it is less."""
KEEP = 3
"""Synchronisations without use after which a purse gives everything back: whoever asks every two seconds shall not
wait for the ledger every time."""
RETELL = 10
"""In so many synchronisations once, a purse repeats what its long requests hold, for a ledger that has lost it."""
MIN_GAP_S = 0.02
LEDGER_S = 0.25
"""A ledger that takes longer is as good as gone."""
RECHECK_S = 0.25
"""How long a refusal is repeated without asking again."""
ASK_AGAIN_S = (0.01, 0.04)
"""Waits before a refusal of what others hold only: what just ended elsewhere is on its way back."""
ROUNDS = 3
PIECE = 24
"""Purses looked at in one turn of the event loop."""
BATCH = 32
"""Accounts in one call to the ledger: it serves nobody else meanwhile, nor does a worker that reads its answer."""


class Ledger(Protocol):
    """Where the accounts are. Raises redis' errors, OSError, TimeoutError."""

    async def exchange(self, asks: Sequence[Ask]) -> Sequence[Grant]: ...

    async def reachable(self) -> bool: ...


class Limiter:
    """share: this worker's part of every limit when the ledger is gone. clock: monotonic seconds; wall: seconds since
    the epoch."""

    def __init__(
        self,
        ledger: Ledger,
        share: Callable[[], Share],
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._ledger = ledger
        self._share = share
        self._clock = clock
        self._wall = wall
        self._accounts: dict[str, Account] = {}
        self._urgent: set[Account] = set()
        self._wake = asyncio.Event()
        self._away = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="limits")

    async def close(self) -> None:
        """Gives back what is held."""
        if self._task:
            await end(self._task)
        await self._word_on(list(self._accounts.values()), stocked=False)

    async def admit(self, owners: Iterable[tuple[str, Caps]], estimate: int) -> Reservation:
        """owners: names that are never reused, with what each may use. estimate: tokens that the request is expected
        to use. Raises RateLimited or InsufficientQuota; a refusal costs nothing."""
        accounts = [self._account(owner, caps) for owner, caps in owners if not caps.unlimited]
        amounts = {REQUESTS: 1, TOKENS: estimate, DAY: estimate, PLACES: 1}
        for _ in range(ROUNDS):
            lacking = [account for account in accounts if not account.covers(amounts)]
            if not lacking:
                break
            for account in lacking:
                await self._obtain(account, amounts)
        else:
            raise RateLimited("Too many requests at once.", retry_after_s=RECHECK_S)
        reservation = Reservation(self, accounts, amounts)
        for account in accounts:
            if self._low(account):
                self._hurry(account)
        return reservation

    def ended(self, account: Account) -> None:
        """Places that came back beyond the stock are wanted elsewhere now."""
        purse = account.purses.get(PLACES)
        if purse is not None and purse.surplus(self._stock(purse)):
            self._hurry(account)

    def headers(self, purses: Iterable[tuple[str, Purse]]) -> Mapping[str, str]:
        """See `gateway.accounts.headers`."""
        return headers(purses, self._clock())

    # -- one account

    def _account(self, owner: str, caps: Caps) -> Account:
        day = int(self._wall() // DAY_S)
        account = self._accounts.get(owner)
        if account is None:
            account = self._accounts[owner] = Account(owner, caps, day, self._clock())
        elif account.day != day or (account.caps is not caps and account.caps != caps):
            account.follow(caps, day, self._clock())
        account.unused = 0
        return account

    async def _obtain(self, account: Account, amounts: Amounts) -> None:
        """Ask until every purse of the account covers its amount. Raises RateLimited."""
        async with account.lock:
            if account.covers(amounts):
                return
            self._repeat_refusal(account, amounts)
            await self._exchange([(account, amounts)])
            for pause_s in ASK_AGAIN_S:
                now = self._clock()
                missing = [
                    (purse, amount) for purse, amount in lines(account, amounts) if not purse.covers(amount)
                ]
                if not missing or not all(purse.elsewhere(amount, now) for purse, amount in missing):
                    break
                await asyncio.sleep(pause_s)
                await self._exchange([(account, amounts)])
            now = self._clock()
            for purse, amount in lines(account, amounts):
                if not purse.covers(amount):
                    purse.refused_at = now
                    raise account.refusal(purse, amount, now, self._wall())

    def _repeat_refusal(self, account: Account, amounts: Amounts) -> None:
        now = self._clock()
        for purse, amount in lines(account, amounts):
            if now - purse.refused_at < RECHECK_S and purse.lacks(amount, now):
                raise account.refusal(purse, amount, now, self._wall())

    # -- the ledger

    async def _exchange(self, wanted: Sequence[tuple[Account, Amounts]], stocked: bool = True) -> None:
        """A word on every purse of these accounts. Their locks are held."""
        now = self._clock()
        wanted_of = [
            (purse, amount, self._stock(purse) if stocked else 0)
            for account, amounts in wanted
            for purse, amount in lines(account, amounts)
        ]
        if not self._away:
            asks: list[Ask] = []
            async for some in _politely(wanted_of):
                asks += [purse.ask(amount, stock, now) for purse, amount, stock in some]
            try:
                async with asyncio.timeout(LEDGER_S):
                    grants = await self._ledger.exchange(asks)
            except (RedisError, OSError) as error:
                self._away = True
                log.warning("limits are this worker's share until Redis is back: %s", error)
            else:
                now = self._clock()
                told = [(purse, grant) for (purse, *_), grant in zip(wanted_of, grants, strict=True)]
                async for answers in _politely(told):
                    for purse, grant in answers:
                        purse.apply(grant, now)
                return
        share = self._share()
        for purse, amount, stock in wanted_of:
            purse.go_alone(amount, stock, share, now)

    def _stock(self, purse: Purse) -> int:
        return purse.meter.limit // (STOCK_SHARE * self._share().live)

    def _low(self, account: Account) -> bool:
        parts = STOCK_SHARE * self._share().live
        return any([purse.low(purse.meter.limit // parts) for purse in account.purses.values()])

    def _is_due(self, account: Account) -> bool:
        """A word for each account each second took a tenth of the time of a worker with a thousand tenants."""
        account.untold += 1
        return account.untold > UNNOTICED or any(
            [purse.noticeable(self._stock(purse)) for purse in account.purses.values()]
        )

    def _hurry(self, account: Account) -> None:
        self._urgent.add(account)
        self._wake.set()

    async def _run(self) -> None:
        due = self._clock() + SYNC_S
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, due - self._clock())):
                    await self._wake.wait()
            self._wake.clear()
            urgent, self._urgent = self._urgent, set()
            if self._clock() >= due:
                due = self._clock() + SYNC_S
                await self.synchronise()
            elif not self._away:
                await self._word_on(urgent)
            await asyncio.sleep(MIN_GAP_S)

    async def synchronise(self) -> None:
        """Tell what was spent, fetch what was used up, give back what was not used, forget who left."""
        if self._away and not await self._back():
            return
        accounts = list(self._accounts.values())
        for account in accounts:
            account.unused += 1
        await self._word_on(
            [account for account in accounts if account.unused == 1 and self._is_due(account)]
        )
        unused = [account for account in accounts if account.unused > KEEP]
        told = [account for account in unused if not account.silent or account.unused % RETELL == 0]
        await self._word_on([account for account in told if not account.idle], stocked=False)
        for account in unused:
            if account.idle and account.unused and not (account.running or account.lock.locked()):
                self._accounts.pop(account.owner, None)

    async def _word_on(self, accounts: Iterable[Account], stocked: bool = True) -> None:
        free = [account for account in accounts if not account.lock.locked()]
        for start in range(0, len(free), BATCH):
            batch = [account for account in free[start : start + BATCH] if not account.lock.locked()]
            for account in batch:
                account.untold = 0
                await account.lock.acquire()
            try:
                await self._exchange([(account, {}) for account in batch], stocked)
            finally:
                for account in batch:
                    account.lock.release()

    async def _back(self) -> bool:
        try:
            async with asyncio.timeout(LEDGER_S):
                self._away = not await self._ledger.reachable()
        except (RedisError, OSError):
            return False
        log.info("limits are counted over all workers again")
        return not self._away


async def _politely(whole: Sequence[T]) -> AsyncIterator[Sequence[T]]:
    """In pieces, with a turn between them for whoever else waits for the event loop."""
    for start in range(0, len(whole), PIECE):
        if start:
            await asyncio.sleep(0)
        yield whole[start : start + PIECE]


def lines(account: Account, amounts: Amounts) -> Iterable[tuple[Purse, float]]:
    """Every purse of an account with what is asked of it."""
    return [(purse, amounts.get(name, 0.0)) for name, purse in account.purses.items()]
