"""The journal of interactions: best effort, never on the request's path.

A gateway worker writes to a Redis stream; the learner drains the stream into SQL (`training.journal_drain`). Between
the two, an interaction is found by a key that lives as long as that takes, and in the writer itself, so that feedback
one millisecond after the answer finds it.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from types import NoneType
from typing import Any, Self

import orjson
import sqlalchemy as sa
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy.ext.asyncio import AsyncEngine

from training.errors import InteractionNotFound
from training.tables import interactions
from training.types import Interaction

STREAM = "graft:journal"
KEY = "graft:interaction:{id}"
KEY_SECONDS = 3600
STREAM_LENGTH = 200_000
STREAM_BYTES = 2**30
"""What the stream may hold before the oldest is dropped, should nothing drain it."""
BYTES_KEY = "graft:journal:bytes"
"""How much it holds."""
LARGEST = 2**20
"""Bytes of one interaction: what is longer goes without the conversation."""
QUEUE_BYTES = 64 * 2**20
BATCH_BYTES = 8 * 2**20
GATHER_S = 0.02
"""How long the first interaction waits for others: a call to Redis costs as much as ten interactions in it. Feedback on
one that another worker still gathers waits as long."""

SCRIPT = f"""
local stream, held = KEYS[1], KEYS[2]
local length, dropped = redis.call('XLEN', stream), 0
local total = length > 0 and tonumber(redis.call('GET', held) or 0) or 0
for i = 3, #KEYS do
  local data = ARGV[i - 2]
  if redis.call('SET', KEYS[i], data, 'EX', {KEY_SECONDS}, 'NX') then
    redis.call('XADD', stream, '*', 'data', data, 'key', KEYS[i])
    total, length = total + #data, length + 1
  end
end
while length > {STREAM_LENGTH} or (total > {STREAM_BYTES} and length > 1) do
  local entry = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
  redis.call('XDEL', stream, entry[1])
  if entry[2][4] then redis.call('DEL', entry[2][4]) end
  total, length, dropped = math.max(total - #entry[2][2], 0), length - 1, dropped + 1
end
redis.call('SET', held, total)
return dropped
"""
"""Two commands and two answers for each interaction would cost the worker three times as much. What is sent again,
because the answer came late, is there already."""

_log = logging.getLogger(__name__)


def encode(interaction: Interaction) -> bytes:
    """An interaction as JSON."""
    return orjson.dumps(interaction)


def decode(data: bytes | str) -> Interaction:
    """Raises AttributeError, KeyError, TypeError or ValueError for what is none, or what no row could hold. Fields of
    a newer release are left out."""
    values = {name: value for name, value in orjson.loads(data).items() if name in _KINDS}
    for name, value in values.items():
        if not isinstance(value, _KINDS[name]):
            raise TypeError(f"{name} is no {type(value).__name__}")
    return Interaction(**(values | {"at": datetime.fromisoformat(values["at"])}))


def _kinds(column: sa.Column[Any]) -> tuple[type, ...]:
    """What JSON has for a column."""
    kinds: tuple[type, ...] = (str,)
    match column.type:
        case sa.JSON():
            kinds = (dict, list)
        case sa.Float():
            kinds = (int, float)
        case sa.Integer():
            kinds = (int,)
    return (*kinds, NoneType) if column.nullable else kinds


_KINDS = {column.name: _kinds(column) for column in interactions.columns}


class JournalWriter:
    """A bounded queue in front of the stream. `write` never waits: when the queue is full the interaction is
    dropped and counted.

    Use as an async context manager, or `start` and `stop`.
    """

    def __init__(self, redis: Redis, *, capacity: int = 10_000, batch: int = 128) -> None:
        self._script = redis.register_script(SCRIPT)
        self._capacity = capacity
        self._batch = batch
        self._waiting: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0
        self._wake = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self.dropped = 0
        """Interactions lost since the start: here, or in Redis, where this worker's made it too long. One that the
        learner was storing just then counts, too, though it is in the record."""

    def write(self, interaction: Interaction) -> None:
        """Queue one interaction."""
        data = _encoded(interaction) if len(self._waiting) < self._capacity else b""
        if not data or self._bytes + len(data) > QUEUE_BYTES:
            self.dropped += 1
            return
        self._waiting[interaction.id] = data
        self._bytes += len(data)
        self._wake.set()

    def waiting(self, interaction_id: str) -> Interaction | None:
        """An interaction that was written here and is not in Redis yet."""
        data = self._waiting.get(interaction_id)
        return decode(data) if data else None

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
        batch: dict[str, bytes] = {}
        size = 0
        for interaction_id, data in self._waiting.items():
            size += len(data)
            if len(batch) == self._batch or (batch and size > BATCH_BYTES):
                break
            batch[interaction_id] = data
        try:
            await self._send(batch)
        except (RedisError, OSError) as error:
            _log.warning("journal: %d interactions wait for Redis: %s", len(self._waiting), error)
            if not self._stopping:
                await asyncio.sleep(0.5)
            return False
        for interaction_id in batch:
            self._bytes -= len(self._waiting.pop(interaction_id, b""))
        return True

    async def _send(self, batch: Mapping[str, bytes]) -> None:
        keys = [STREAM, BYTES_KEY, *(KEY.format(id=interaction_id) for interaction_id in batch)]
        self.dropped += int(await self._script(keys=keys, args=list(batch.values())))


def _encoded(interaction: Interaction) -> bytes:
    """Empty for what cannot be written, or is too long even without the conversation."""
    try:
        data = encode(interaction)
        if len(data) > LARGEST:
            detail = {name: value for name, value in (interaction.detail or {}).items() if name != "tools"}
            data = encode(replace(interaction, messages=(), detail=detail))
    except orjson.JSONEncodeError as error:
        _log.error("journal: %s cannot be written: %s", interaction.id, error)
        return b""
    return data if len(data) <= LARGEST else b""


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


def interaction_of(row: Mapping[str, Any]) -> Interaction:
    """An interaction from its SQL row."""
    return Interaction(**dict(row))
