"""The HTTP server of a worker, which ends in order."""

import asyncio
import gc
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

CLOSING_S = 2.0
"""How long requests that did not finish may take to say so."""
YOUNG_OBJECTS = 20_000
"""Made and not freed, before the garbage collector looks at the youngest."""


class Server(uvicorn.Server):
    """uvicorn raises a stop signal anew once it has stopped, which would kill the process before what the worker
    still holds (interactions not yet in Redis, its heartbeat) is closed."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """uvicorn does not wait for the requests that it cancels; they have an error to tell."""
        await super().shutdown(sockets)
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=CLOSING_S)


def spare_collections() -> None:
    """What a process holds once it has started stays, and what requests make goes without a collector's help: looking
    through all of it again and again would cost requests their time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)
