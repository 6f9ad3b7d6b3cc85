"""The accounts that all workers share, in Redis: one hash for each limit of each tenant and key.

Fields: `spent` and the time `at` which it was so much; and for each worker what it holds. What a worker holds counts
while that worker's heartbeat lives: what a dead one held is free again.
"""

from collections.abc import Sequence

import orjson
from redis.asyncio import Redis

from adapters.slot_ledger import WORKER_KEY
from gateway.quota import SLACK, STOCK_OF_REST, Ask, Grant

KEEP_S = 2 * 86_400

SCRIPT = f"""
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local me, prefix, keep = ARGV[1], ARGV[2], ARGV[3]
local words = cjson.decode(ARGV[4])
local alive, answer = {{}}, {{}}
local function lives(worker)
  if alive[worker] == nil then alive[worker] = redis.call('EXISTS', prefix .. worker) == 1 end
  return alive[worker]
end
for i, key in ipairs(KEYS) do
  local limit, rate, told, held, short, want, known = unpack(words[i])
  local spent, at, others = known, now, 0
  local fields = redis.call('HGETALL', key)
  for j = 1, #fields, 2 do
    local name, value = fields[j], tonumber(fields[j + 1])
    if name == 'spent' then spent = value
    elseif name == 'at' then at = value
    elseif name ~= me then
      if lives(name) then others = others + value else redis.call('HDEL', key, name) end
    end
  end
  spent = math.max(0, math.max(0, spent - math.max(0, now - at) * rate) + told)
  local rest, granted = limit - spent - others - held, 0
  if rest + {SLACK} >= short then
    granted = math.min(want, short + math.floor(math.max(0, rest - short) / {STOCK_OF_REST}))
  end
  held = held + granted
  redis.call('HSET', key, 'spent', string.format('%.17g', spent), 'at', string.format('%.17g', now))
  if held == 0 then redis.call('HDEL', key, me)
  else redis.call('HSET', key, me, string.format('%.17g', held)) end
  redis.call('EXPIRE', key, keep)
  answer[#answer + 1] = string.format('%.17g', granted)
  answer[#answer + 1] = string.format('%.17g', spent)
  answer[#answer + 1] = string.format('%.17g', rest - granted)
end
return table.concat(answer, ' ')
"""
"""A clock that was set back charges nobody for the time that it gained. All numbers in one text each way: as an
argument and an answer of its own, each costs the worker microseconds."""


class RedisLedger:
    """worker_id: as in its heartbeat. Raises redis' errors and OSError."""

    def __init__(self, redis: Redis, worker_id: str) -> None:
        self._redis = redis
        self._me = worker_id
        self._script = redis.register_script(SCRIPT)

    async def exchange(self, asks: Sequence[Ask]) -> Sequence[Grant]:
        """All accounts in one step, one grant for each."""
        words = [
            (ask.meter.limit, ask.meter.rate, ask.spent, ask.held, ask.short, ask.want, ask.known)
            for ask in asks
        ]
        told: list[str | int | bytes] = [self._me, WORKER_KEY.format(id=""), KEEP_S, orjson.dumps(words)]
        found = await self._script(keys=[ask.meter.key for ask in asks], args=told)
        numbers = [float(value) for value in found.split()]
        return [Grant(*numbers[at : at + 3]) for at in range(0, len(numbers), 3)]

    async def reachable(self) -> bool:
        return bool(await self._redis.ping())
