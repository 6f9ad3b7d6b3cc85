"""The slots of all replicas in Redis, for all who ask them: the rule of `adapters.slot_table` in one script.

What a worker holds or waits for counts while its heartbeat lives; so do control and the learner
(`adapters.own_slots`).
"""

from redis.asyncio import Redis

from adapters.slot_table import TENURE_S, Grants, Word

WORKER_KEY = "graft:worker:{id}"
"""Exists while whoever asks the engines under this name lives."""
SLOTS_CHANNEL = "graft:slots"
"""A replica's URL is published here when another worker than the one that asked should ask again."""
HELD_KEY = "graft:slots:{url}:held"
WAITING_KEY = "graft:slots:{url}:waiting"
KEEP_S = 3600

SCRIPT = f"""
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local me, prefix, slots, url, released = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])
local tenure, running = tonumber(ARGV[6]), tonumber(ARGV[7])
local alive = {{}}
local function lives(worker)
  if alive[worker] == nil then alive[worker] = worker == me or redis.call('EXISTS', prefix .. worker) == 1 end
  return alive[worker]
end
local function read(key)
  local found = {{}}
  local fields = redis.call('HGETALL', key)
  for i = 1, #fields, 2 do
    local version, worker = fields[i]:match('^(%S+) (%S+)$')
    if not lives(worker) then redis.call('HDEL', key, fields[i])
    else
      found[version] = found[version] or {{}}
      found[version][worker] = tonumber(fields[i + 1])
    end
  end
  return found
end
local function oldest(entries, keep)
  local line = {{}}
  for version, who in pairs(entries) do
    local at = math.huge
    for _, since in pairs(who) do at = math.min(at, since) end
    if keep(version, at) then line[#line + 1] = {{at, version}} end
  end
  table.sort(line, function(a, b) if a[1] ~= b[1] then return a[1] < b[1] end return a[2] < b[2] end)
  return line
end
for i = 1, released do redis.call('HDEL', KEYS[1], ARGV[7 + i] .. ' ' .. me) end
local held, waiting = read(KEYS[1]), read(KEYS[2])
for i = 8 + released, 7 + released + running do
  local version = ARGV[i]
  held[version] = held[version] or {{}}
  if not held[version][me] then
    held[version][me] = now
    redis.call('HSET', KEYS[1], version .. ' ' .. me, string.format('%.17g', now))
  end
end
local before = {{}}
for version, who in pairs(waiting) do
  if who[me] then
    before[version] = true
    who[me] = nil
    if next(who) == nil then waiting[version] = nil end
    redis.call('HDEL', KEYS[2], version .. ' ' .. me)
  end
end
local fresh = false
for i = 8 + released + running, #ARGV, 2 do
  local version, since = ARGV[i], now - tonumber(ARGV[i + 1])
  waiting[version] = waiting[version] or {{}}
  waiting[version][me] = since
  redis.call('HSET', KEYS[2], version .. ' ' .. me, string.format('%.17g', since))
  fresh = fresh or not before[version]
end
local line = oldest(waiting, function(version) return not held[version] end)
local count, someone = 0, false
for _, who in pairs(held) do
  count = count + 1
  for worker in pairs(who) do someone = someone or worker ~= me end
end
local free, over = math.max(0, slots - count), math.max(0, count - slots)
local short = math.max(0, #line - free)
local tenured = oldest(held, function(version, at) return now - at >= tenure end)
local leaving = {{}}
for i = 1, math.min(short + over, #tenured) do leaving[tenured[i][2]] = true end
local others = short > 0 and fresh and someone
local function grant(version)
  held[version] = held[version] or {{}}
  for worker in pairs(waiting[version]) do
    if not held[version][worker] then
      held[version][worker] = now
      redis.call('HSET', KEYS[1], version .. ' ' .. worker, string.format('%.17g', now))
    end
    redis.call('HDEL', KEYS[2], version .. ' ' .. worker)
    others = others or worker ~= me
  end
  waiting[version] = nil
end
for i = 1, math.min(free, #line) do grant(line[i][2]) end
local joining = {{}}
for version in pairs(waiting) do
  if held[version] and not leaving[version] then joining[#joining + 1] = version end
end
for _, version in ipairs(joining) do grant(version) end
for i = 1, 2 do redis.call('EXPIRE', KEYS[i], {KEEP_S}) end
if others then redis.call('PUBLISH', '{SLOTS_CHANNEL}', url) end
local answer = {{short}}
for version, who in pairs(held) do
  if who[me] then
    answer[#answer + 1] = version
    answer[#answer + 1] = leaving[version] and 1 or 0
  end
end
return answer
"""


class RedisSlots:
    """worker_id: as in its heartbeat. slots: of each engine. Raises redis' errors and OSError."""

    def __init__(self, redis: Redis, worker_id: str, slots: int, tenure_s: float = TENURE_S) -> None:
        self._redis = redis
        self._me = worker_id
        self._slots = slots
        self._tenure_s = tenure_s
        self._script = redis.register_script(SCRIPT)

    async def exchange(self, url: str, word: Word) -> Grants:
        told: list[str | float] = [self._me, WORKER_KEY.format(id=""), self._slots, url]
        told += [len(word.released), self._tenure_s, len(word.running), *word.released, *word.running]
        for version, waited in word.wanted.items():
            told += [version, waited]
        keys = [HELD_KEY.format(url=url), WAITING_KEY.format(url=url)]
        short, *found = await self._script(keys=keys, args=told)
        held = {_text(found[at]): bool(found[at + 1]) for at in range(0, len(found), 2)}
        leaving = frozenset(version for version, leaves in held.items() if leaves)
        return Grants(frozenset(held), leaving, int(short))


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
