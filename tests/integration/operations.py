"""What control does in several steps, made so that it can be stopped at each of them.

Every call of an operation on one of its ports, and every transaction on the record, is a step; the last is `end`. What
the steps are is found by doing the operation once and listening: no list of them is kept anywhere.

`python -m tests.integration.operations OPERATION TENANT VERSION STEP` is a control process that does one and stops at a
step until it is told to go on, or killed. It prints each step that it reaches and what came of the operation, one JSON
document a line; a line on its input lets it go on.
"""

import asyncio
import contextlib
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from adapters import tables
from adapters.errors import AdaptersError
from adapters.registry import Registry
from adapters.retention import GRACE
from adapters.settings import Settings as AdaptersSettings
from adapters.swap import Swapper
from adapters.types import DEFAULT_ADAPTER, Rollout
from gateway.canaries import Canaries
from gateway.control import Control, assembled
from gateway.pruning import Pruner
from gateway.rollout_moves import RolloutMoves
from gateway.settings import Settings

READS = frozenset({"healthy", "resident", "files"})
"""Calls that change nothing anywhere."""
END = "end"

At = Callable[[str], Awaitable[None]]


class Watched:
    """A port whose calls are steps, each the first time."""

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


class WatchedRecord:
    """A record whose transactions are steps, each of them."""

    def __init__(self, record: AsyncEngine, at: At) -> None:
        self._record = record
        self._at = at
        self._count = Counter[str]()

    def connect(self) -> Any:
        return self._record.connect()

    @contextlib.asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        self._count["begin"] += 1
        number = self._count["begin"]
        await self._at(f"record.begin#{number}")
        async with self._record.begin() as connection:
            yield connection
            await self._at(f"record.commit#{number}")


class Steps:
    """Tells of every step the first time that it is reached, and waits at one of them. Whoever comes to a step while
    another waits there waits, too."""

    def __init__(
        self, stop_at: str, say: Callable[[str], None], go_on: Callable[[], Awaitable[object]]
    ) -> None:
        self._stop_at = stop_at
        self._say = say
        self._go_on = go_on
        self._passed: dict[str, asyncio.Event] = {}

    async def at(self, step: str) -> None:
        if step in self._passed:
            await self._passed[step].wait()
            return
        passed = self._passed[step] = asyncio.Event()
        self._say(step)
        if step == self._stop_at:
            await self._go_on()
        passed.set()


@dataclass(frozen=True)
class Parts:
    """Control's parts over watched ports."""

    control: Control
    swapper: Swapper
    canaries: Canaries
    pruner: Pruner

    @classmethod
    def over(cls, control: Control, cache_dir: Path, at: At) -> "Parts":
        record: Any = WatchedRecord(control.sql, at)
        registry = Registry(record)
        workers: Any = Watched(control.workers, "workers", at)
        store: Any = Watched(control.store, "store", at)
        engines: Any = [
            Watched(engine, f"engine-{number + 1}", at) for number, engine in enumerate(control.engines)
        ]
        swapper = Swapper(
            registry, store, engines, workers, cache_dir, visible_deadline_s=1.0, drain_deadline_s=1.0
        )
        return cls(
            control,
            swapper,
            Canaries(
                record,
                registry,
                swapper,
                workers,
                RolloutMoves(record, control.tenants),
                control.canaries.counts,
            ),
            Pruner(record, store, engines, workers, control.tenants, cache_dir),
        )

    async def rollout(self, tenant_id: str) -> Rollout:
        (found,) = [each for each in await self.canaries.open() if each.tenant_id == tenant_id]
        return found


async def swap(parts: Parts, tenant_id: str, version_id: str) -> None:
    await parts.swapper.swap(tenant_id, DEFAULT_ADAPTER, version_id, "test")


async def rollback(parts: Parts, tenant_id: str, _: str) -> None:
    await parts.swapper.rollback(tenant_id, DEFAULT_ADAPTER, "test")


async def promote(parts: Parts, tenant_id: str, _: str) -> None:
    """A canary takes over."""
    await parts.canaries.promote(await parts.rollout(tenant_id), "test", "test", one_step=False)


async def abort(parts: Parts, tenant_id: str, _: str) -> None:
    """A version that took over, and is watched, goes back."""
    await parts.canaries.abort(await parts.rollout(tenant_id), "test", "test")


async def prune(parts: Parts, tenant_id: str, _: str) -> None:
    """Marks on what is not needed, and, as if the time between them were over, the end of its files."""
    await parts.pruner.prune(tenant_id, DEFAULT_ADAPTER, "test")
    await aged(parts.control.sql)
    await parts.pruner.sweep()


async def aged(sql: AsyncEngine) -> None:
    """As if all marks had been made long enough ago."""
    versions = tables.versions
    async with sql.begin() as connection:
        await connection.execute(
            sa.update(versions)
            .where(versions.c.pruned_at.is_not(None))
            .values(pruned_at=datetime.now(UTC) - 2 * GRACE)
        )


OPERATIONS: Mapping[str, Callable[[Parts, str, str], Awaitable[None]]] = {
    each.__name__: each for each in (swap, rollback, promote, abort, prune)
}


async def outcome(operation: str, parts: Parts, tenant_id: str, version_id: str, steps: Steps) -> str:
    """Empty, or the name of the error that ended it."""
    try:
        await OPERATIONS[operation](parts, tenant_id, version_id)
        error = ""
    except AdaptersError as found:
        error = type(found).__name__
    await steps.at(END)
    return error


async def main(operation: str, tenant_id: str, version_id: str, stop_at: str) -> None:
    told = AdaptersSettings()
    steps = Steps(stop_at, lambda step: _say({"step": step}), lambda: asyncio.to_thread(sys.stdin.readline))
    async with assembled(Settings(), told) as control:
        parts = Parts.over(control, told.cache_dir, steps.at)
        _say({"error": await outcome(operation, parts, tenant_id, version_id, steps)})


def _say(document: dict[str, Any]) -> None:
    print(json.dumps(document), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
