"""What is written in one turn of the event loop leaves in the next, all of it together.

Peers that hear one by one answer one by one, and the loop turns for each: a tenth of a worker's time with 64 clients.
"""

import asyncio
import logging
from collections.abc import Callable
from weakref import WeakKeyDictionary

log = logging.getLogger(__name__)

_found: WeakKeyDictionary[asyncio.AbstractEventLoop, "NextTurn"] = WeakKeyDictionary()


class NextTurn:
    """One callback of the loop for all calls of a turn: each on its own would cost as much as what it calls."""

    def __init__(self) -> None:
        self._calls: list[Callable[[], None]] = []

    def call(self, function: Callable[[], None]) -> None:
        if not self._calls:
            asyncio.get_running_loop().call_soon(self._run)
        self._calls.append(function)

    def _run(self) -> None:
        calls, self._calls = self._calls, []
        for function in calls:
            try:
                function()
            except Exception:
                log.exception("a write failed")


def next_turn(loop: asyncio.AbstractEventLoop) -> NextTurn:
    """The one of a loop."""
    found = _found.get(loop)
    if found is None:
        found = _found[loop] = NextTurn()
    return found
