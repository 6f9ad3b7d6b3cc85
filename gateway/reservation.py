"""What one request takes of its tenant's and its key's limits, from its admission to its end."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from gateway.accounts import DAY, PLACES, REQUESTS, TOKENS, Account, Amounts
from gateway.quota import Purse

NOTHING: Amounts = {REQUESTS: 0, TOKENS: 0, DAY: 0, PLACES: 0}


class Keeper(Protocol):
    """Who keeps the accounts."""

    def ended(self, account: Account) -> None: ...

    def headers(self, purses: Iterable[tuple[str, Purse]]) -> Mapping[str, str]: ...


class Reservation:
    """What one request took. `settle` and `release` may each come once, in any order, or not at all but for
    `release`."""

    __slots__ = ("_accounts", "_amounts", "_keeper", "_open", "_taken")

    def __init__(self, keeper: Keeper, accounts: Sequence[Account], amounts: Amounts) -> None:
        self._keeper = keeper
        self._amounts = amounts
        self._accounts = accounts
        self._taken = [(name, purse) for account in accounts for name, purse in account.purses.items()]
        for name, purse in self._taken:
            purse.reserve(amounts[name])
        for account in accounts:
            account.running += 1
            account.unused = 0
        self._open = True

    def settle(self, tokens: int | None) -> None:
        """The request was served. tokens: its real usage; None: unknown, the estimate stands."""
        used = self._amounts[TOKENS] if tokens is None else tokens
        self._end({REQUESTS: 1, TOKENS: used, DAY: used, PLACES: 0})

    def release(self) -> None:
        """The request was not served: it costs nothing. Without effect after `settle`."""
        self._end(NOTHING)

    def headers(self) -> Mapping[str, str]:
        return self._keeper.headers(self._taken)

    def _end(self, actual: Amounts) -> None:
        if not self._open:
            return
        self._open = False
        for name, purse in self._taken:
            purse.settle(self._amounts[name], actual[name])
        for account in self._accounts:
            account.running -= 1
            account.unused = 0
            self._keeper.ended(account)
