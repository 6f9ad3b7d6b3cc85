"""The journal of interactions: best effort, never on the request's path.

A gateway worker writes to a Redis stream; the learner drains the stream into SQL. Between the two, an
interaction is found by a key that lives as long as that takes, and in the writer itself, so that feedback one
millisecond after the answer finds it.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from itertools import islice
from typing import Any, Self

import orjson
import sqlalchemy as sa
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError
from sqlalchemy.ext.asyncio import AsyncEngine

from training.errors import InteractionNotFound
from training.rows import insert_absent
from training.tables import interactions
from training.types import Interaction

STREAM = "graft:journal"
GROUP = "learner"
KEY = "graft:interaction:{id}"
KEY_SECONDS = 3600
SILENT_SECONDS = 60
"""A consumer that has not read for this long has died: it reads at least every second."""
STREAM_LENGTH = 200_000
"""Interactions the stream may hold before the oldest is dropped, should nothing drain it."""
GATHER_S = 0.005
"""How long the first interaction waits for others: a call to Redis costs as much as ten interactions in it."""

SCRIPT = f"""
for i = 2, #KEYS do
  redis.call('SET', KEYS[i], ARGV[i - 1], 'EX', {KEY_SECONDS})
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', {STREAM_LENGTH}, '*', 'data', ARGV[i - 1])
end
"""
"""Two commands and two answers for each interaction would cost the worker three times as much."""

_log = logging.getLogger(__name__)


def encode(interaction: Interaction) -> bytes:
    """An interaction as JSON."""
    return orjson.dumps(interaction)


def decode(data: bytes | str) -> Interaction:
    values = orjson.loads(data)
    return Interaction(**(values | {"at": datetime.fromisoformat(values["at"])}))


class JournalWriter:
    """A bounded queue in front of the stream. `write` never waits: when the queue is full the interaction is
    dropped and counted.

    Use as an async context manager, or `start` and `stop`.
    """

    def __init__(self, redis: Redis, *, capacity: int = 10_000, batch: int = 128) -> None:
        self._script = redis.register_script(SCRIPT)
        self._capacity = capacity
        self._batch = batch
        self._waiting: OrderedDict[str, Interaction] = OrderedDict()
        self._wake = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self.dropped = 0
        """Interactions lost since the start."""

    def write(self, interaction: Interaction) -> None:
        """Queue one interaction."""
        if len(self._waiting) >= self._capacity:
            self.dropped += 1
            return
        self._waiting[interaction.id] = interaction
        self._wake.set()

    def waiting(self, interaction_id: str) -> Interaction | None:
        """An interaction that was written here and is not in Redis yet."""
        return self._waiting.get(interaction_id)

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="journal-writer")

    async def stop(self) -> None:
        """Write what waits, once, then end."""
        self._stopping = True
        self._wake.set()
        if self._task is not None:
            await self._task

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _run(self) -> None:
        while not (self._stopping and not self._waiting):
            await self._wake.wait()
            self._wake.clear()
            if not self._stopping:
                await asyncio.sleep(GATHER_S)
            while self._waiting:
                if not await self._flush() and self._stopping:
                    self.dropped += len(self._waiting)
                    return

    async def _flush(self) -> bool:
        """Send one batch; what Redis does not take now is tried again a little later."""
        batch = list(islice(self._waiting.values(), self._batch))
        try:
            await self._send(batch)
        except (RedisError, OSError) as error:
            _log.warning("journal: %d interactions wait for Redis: %s", len(self._waiting), error)
            if not self._stopping:
                await asyncio.sleep(0.5)
            return False
        for interaction in batch:
            self._waiting.pop(interaction.id, None)
        return True

    async def _send(self, batch: Sequence[Interaction]) -> None:
        keys = [STREAM, *(KEY.format(id=interaction.id) for interaction in batch)]
        await self._script(keys=keys, args=[encode(interaction) for interaction in batch])


class Interactions:
    """Finds one interaction wherever it is by now: in this worker, in Redis, in SQL."""

    def __init__(self, redis: Redis, engine: AsyncEngine, writer: JournalWriter | None = None) -> None:
        self._redis = redis
        self._engine = engine
        self._writer = writer

    async def find(
        self, tenant_id: str | None, interaction_id: str, *, patience_s: float = 0.25
    ) -> Interaction:
        """The tenant's interaction; None: anybody's. Another worker may be about to write it, hence `patience_s`.

        Raises InteractionNotFound, also for another tenant's.
        """
        deadline = asyncio.get_running_loop().time() + patience_s
        while True:
            found = await self._look(interaction_id)
            if found is not None and tenant_id in (None, found.tenant_id):
                return found
            if found is not None or asyncio.get_running_loop().time() >= deadline:
                raise InteractionNotFound(interaction_id)
            await asyncio.sleep(0.02)

    async def _look(self, interaction_id: str) -> Interaction | None:
        written = self._writer.waiting(interaction_id) if self._writer else None
        return written or await self._in_redis(interaction_id) or await self._in_sql(interaction_id)

    async def _in_redis(self, interaction_id: str) -> Interaction | None:
        try:
            data = await self._redis.get(KEY.format(id=interaction_id))
        except (RedisError, OSError):
            return None
        return decode(data) if data else None

    async def _in_sql(self, interaction_id: str) -> Interaction | None:
        query = sa.select(interactions).where(interactions.c.id == interaction_id)
        async with self._engine.connect() as connection:
            row = (await connection.execute(query)).mappings().first()
        return interaction_of(dict(row)) if row else None


class JournalDrain:
    """Moves the stream into SQL. At least once: an interaction read twice is stored once."""

    def __init__(self, redis: Redis, engine: AsyncEngine, consumer: str, *, batch: int = 500) -> None:
        self._redis = redis
        self._engine = engine
        self._consumer = consumer
        self._batch = batch
        self._inherit_at = 0.0

    async def drain(self, *, block_ms: int = 1000) -> int:
        """Store what is there, waiting up to `block_ms` for the first; returns how many. What a learner read and did
        not store, because it died, comes first."""
        await self._inherit()
        entries = await self._read("0", None) or await self._read(">", block_ms)
        if not entries:
            return 0
        rows = [_row(decode(fields[b"data"])) for _, fields in entries if fields]
        async with self._engine.begin() as connection:
            await insert_absent(connection, interactions, rows)
        ids = [entry_id for entry_id, _ in entries]
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.xack(STREAM, GROUP, *ids)
            pipe.xdel(STREAM, *ids)
            await pipe.execute()
        return len(rows)

    async def _inherit(self) -> None:
        """Take over what consumers that have been silent hold, once in as long as they may be; then forget them."""
        if time.monotonic() < self._inherit_at:
            return
        self._inherit_at = time.monotonic() + SILENT_SECONDS
        try:
            await self._redis.xautoclaim(
                STREAM, GROUP, self._consumer, SILENT_SECONDS * 1000, count=STREAM_LENGTH
            )
            for other in await self._redis.xinfo_consumers(STREAM, GROUP):
                silent = other["idle"] > SILENT_SECONDS * 1000 and not other["pending"]
                if silent and other["name"] != self._consumer.encode():
                    await self._redis.xgroup_delconsumer(STREAM, GROUP, other["name"])
        except ResponseError as error:
            if not _absent(error):
                raise

    async def _read(self, position: str, block_ms: int | None) -> list[tuple[bytes, Mapping[bytes, bytes]]]:
        try:
            answer = await self._redis.xreadgroup(
                GROUP, self._consumer, {STREAM: position}, count=self._batch, block=block_ms
            )
        except ResponseError as error:
            if not _absent(error):
                raise
            await self._make_group()
            return []
        return list(_entries(answer))

    async def _make_group(self) -> None:
        """A fresh Redis knows no group; another learner may make it first."""
        try:
            await self._redis.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise


def _absent(error: ResponseError) -> bool:
    """A fresh Redis knows neither the stream nor the group."""
    return "NOGROUP" in str(error) or "no such key" in str(error)


def _entries(answer: Any) -> Sequence[tuple[bytes, Mapping[bytes, bytes]]]:
    """Redis 8's client answers with a mapping under RESP3 and with pairs under RESP2; here is one stream
    only."""
    streams = answer.items() if isinstance(answer, Mapping) else answer or []
    found: list[tuple[bytes, Mapping[bytes, bytes]]] = []
    for _, entries in streams:
        for entry in entries:
            found += entry if isinstance(entry, list) else [entry]
    return found


def interaction_of(row: Mapping[str, Any]) -> Interaction:
    """An interaction from its SQL row."""
    return Interaction(**dict(row))


def _row(interaction: Interaction) -> dict[str, Any]:
    return asdict(interaction)
