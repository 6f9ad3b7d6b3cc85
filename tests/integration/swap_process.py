"""A control process that makes one swap and stops at one of its steps until it is told to go on, or killed.

`python -m tests.integration.swap_process TENANT VERSION STEP`, with the settings of control in its environment. Every
call that a swap makes on one of its ports is a step, named by port and method; `end` comes after the last. Prints each
step as it reaches it and what came of the swap, one JSON document a line; a line on its input lets it go on.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from adapters.errors import AdaptersError
from adapters.settings import Settings as AdaptersSettings
from adapters.swap import Swapper
from adapters.types import DEFAULT_ADAPTER
from gateway.control import assembled
from gateway.settings import Settings

STEPS = (
    "engine.pull",
    "engine.chat",
    "registry.move_alias",
    "workers.announce",
    "workers.wait_for",
    "workers.leases",
    "registry.is_wanted",
    "engine.unload",
    "end",
)
"""All that a swap goes through, in order; the test of the whole swap holds this against what is printed."""
READS = frozenset({"healthy", "resident", "version", "alias"})
"""Calls before the first step that change nothing anywhere."""

At = Callable[[str], Awaitable[None]]


class Watched:
    """A port whose calls are steps."""

    def __init__(self, port: Any, name: str, at: At) -> None:
        self._port = port
        self._name = name
        self._at = at

    def __getattr__(self, method: str) -> Any:
        found = getattr(self._port, method)
        if method in READS or not callable(found):
            return found

        async def call(*given: Any, **named: Any) -> Any:
            await self._at(f"{self._name}.{method}")
            return await found(*given, **named)

        return call


class Steps:
    """Tells of every step the first time that it is reached, and waits at one of them."""

    def __init__(self, stop_at: str) -> None:
        self._stop_at = stop_at
        self._passed: dict[str, asyncio.Event] = {}

    async def at(self, step: str) -> None:
        if step in self._passed:
            await self._passed[step].wait()
            return
        passed = self._passed[step] = asyncio.Event()
        say({"step": step})
        if step == self._stop_at:
            await asyncio.to_thread(sys.stdin.readline)
        passed.set()


def say(document: dict[str, Any]) -> None:
    print(json.dumps(document), flush=True)


async def main(tenant_id: str, version_id: str, stop_at: str) -> None:
    steps, told = Steps(stop_at), AdaptersSettings()
    async with assembled(Settings(), told) as control:
        swapper = Swapper(
            Watched(control.registry, "registry", steps.at),  # type: ignore[arg-type]
            control.store,
            [Watched(engine, "engine", steps.at) for engine in control.engines],  # type: ignore[misc]
            Watched(control.workers, "workers", steps.at),  # type: ignore[arg-type]
            told.cache_dir,
            visible_deadline_s=1.0,
            drain_deadline_s=1.0,
        )
        try:
            result = await swapper.swap(tenant_id, DEFAULT_ADAPTER, version_id, "test")
            outcome: dict[str, Any] = {"visible": result.visible, "unloaded": list(result.unloaded)}
        except AdaptersError as error:
            outcome = {"error": type(error).__name__}
        await steps.at("end")
        say(outcome)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
