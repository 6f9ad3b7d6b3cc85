"""The journal's way out of Redis: one process moves the stream into SQL."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, StatementError
from sqlalchemy.ext.asyncio import AsyncEngine

from training.journal import BATCH_BYTES, BYTES_KEY, KEY, STREAM, STREAM_LENGTH, decode
from training.rows import insert_absent
from training.tables import interactions

GROUP = "learner"
FEW = 16
"""Entries of one reply, which is 16 MB at most."""
SILENT_SECONDS = 60
"""A consumer that has not read for this long has died: it reads at least every second."""

STORED_SCRIPT = f"""
local stream, held, freed = KEYS[1], KEYS[2], 0
for i = 3, #KEYS do
  local entry, size = ARGV[2 * i - 5], ARGV[2 * i - 4]
  redis.call('XACK', stream, '{GROUP}', entry)
  if redis.call('XDEL', stream, entry) == 1 then freed = freed + size end
  redis.call('DEL', KEYS[i])
end
local left = redis.call('DECRBY', held, freed)
if left <= 0 or redis.call('XLEN', stream) == 0 then redis.call('DEL', held) end
"""
"""Who looks for an interaction that is gone from here looks into SQL next."""

_log = logging.getLogger(__name__)


class JournalDrain:
    """Moves the stream into SQL. At least once: an interaction read twice is stored once."""

    def __init__(self, redis: Redis, engine: AsyncEngine, consumer: str, *, batch: int = 256) -> None:
        self._redis = redis
        self._stored = redis.register_script(STORED_SCRIPT)
        self._engine = engine
        self._consumer = consumer
        self._batch = batch
        self._inherit_at = 0.0

    async def drain(self, *, block_ms: int = 1000) -> int:
        """Store what is there, waiting up to `block_ms` for the first; returns how many. What a learner read and did
        not store, because it died, comes first."""
        await self._inherit()
        entries = await self._next(block_ms)
        if not entries:
            return 0
        keys, rows = [STREAM, BYTES_KEY], []
        told: list[bytes | int] = []
        for entry_id, fields in entries:
            row = _row(entry_id, fields)
            rows += [row] if row else []
            keys.append(KEY.format(id=row["id"]) if row else KEY)
            told += [entry_id, _bytes([(entry_id, fields)])]
        await self._store(rows)
        await self._stored(keys=keys, args=told)
        return len(rows)

    async def _store(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """What SQL refuses is lost alone: it must not keep the rest waiting for ever."""
        try:
            async with self._engine.begin() as connection:
                await insert_absent(connection, interactions, rows)
        except (StatementError, OverflowError, UnicodeError) as error:
            if isinstance(error, DBAPIError) and not isinstance(error, DataError | IntegrityError):
                raise  # nothing that a row could help
            if len(rows) == 1:
                _log.error("journal: %s cannot be stored: %s", rows[0]["id"], type(error).__name__)
                return
            middle = len(rows) // 2
            await self._store(rows[:middle])
            await self._store(rows[middle:])

    async def _inherit(self) -> None:
        """Take over what consumers that have been silent hold, once in as long as they may be; then forget them."""
        if time.monotonic() < self._inherit_at:
            return
        self._inherit_at = time.monotonic() + SILENT_SECONDS
        try:
            await self._redis.xautoclaim(
                STREAM, GROUP, self._consumer, SILENT_SECONDS * 1000, count=STREAM_LENGTH, justid=True
            )
            for other in await self._redis.xinfo_consumers(STREAM, GROUP):
                silent = other["idle"] > SILENT_SECONDS * 1000 and not other["pending"]
                if silent and other["name"] != self._consumer.encode():
                    await self._redis.xgroup_delconsumer(STREAM, GROUP, other["name"])
        except ResponseError as error:
            if not _absent(error):
                raise

    async def _next(self, block_ms: int) -> list[tuple[bytes, Mapping[bytes, bytes]]]:
        """A batch, in replies that come within the client's timeout however long the entries are."""
        entries = reply = await self._read("0", None) or await self._read(">", block_ms)
        while len(reply) == FEW and len(entries) < self._batch and _bytes(entries) < BATCH_BYTES:
            reply = await self._read(">", None)
            entries = entries + reply
        return entries

    async def _read(self, position: str, block_ms: int | None) -> list[tuple[bytes, Mapping[bytes, bytes]]]:
        try:
            answer = await self._redis.xreadgroup(
                GROUP, self._consumer, {STREAM: position}, count=FEW, block=block_ms
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


def _bytes(entries: Sequence[tuple[bytes, Mapping[bytes, bytes]]]) -> int:
    return sum(len(fields.get(b"data", b"")) for _, fields in entries if fields)


def _row(entry_id: bytes, fields: Mapping[bytes, bytes]) -> dict[str, Any] | None:
    """None for what is no interaction, or is gone: the stream was too long."""
    if not fields:
        return None
    try:
        return asdict(decode(fields[b"data"]))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        _log.error("journal: entry %s is no interaction: %r", entry_id.decode(), error)
        return None
