-- A timeline for a Valkey or Redis server: see timeline.py, which says the same in Python and
-- explains it. A change of one is a change of the other. This file and the others beside it are
-- parts of one script, see script.py. This one reads and writes the account.
--
-- KEYS: the account; its members; when each speaks again at the latest; when each has asked last;
--       those that wait for slots.
-- ARGV: a JSON array of the command and what it takes. The answer is one, too, with numbers as texts
-- of 17 digits, since cjson writes no more than 14.

local CHUNK, TRIPS, LONGEST, FORGET, CLOSED = 200000, 3, 1000000, 8, 1.5
local LATE_AT_ONCE, RECOVERY, ROUNDING = 50000, 14, 1e-9
local ACTIVE, SILENCE, MINUTE, CHECK = 1000000, 30000000, 60000000, 1000000
local LOAN, LONGEST_LOAN, TRUST = 1000000, 5000000, 50000
local HAS_LOAN, RETURNED, UNWANTED = 1, 2, 3
-- places of the instants in an answer to an ask
local NOW, END, NEXT, SENT, START, UNTIL = 2, 7, 19, 21, 23, 24
local FORMAT = 2 -- of what is kept: it is raised when that changes
local KEPT = 90000000 -- ms for which an account without commands is kept: a day, and an hour
local RENEWAL = 3600000000 -- after this time all of its keys are kept for as long anew

local words, next_word = cjson.decode(ARGV[1]), 2

local function text()
  next_word = next_word + 1
  return words[next_word - 1]
end

local function number()
  return tonumber(text())
end

local function numbers(n)
  local row = {}
  for i = 1, n do
    row[i] = number()
  end
  return row
end

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local packed = redis.call('GET', KEYS[1])
local account = packed and cmsgpack.unpack(packed)

-- What another version has kept is not understood. It begins anew if no member may be alive.
if account and account.format ~= FORMAT then
  if redis.call('ZCOUNT', KEYS[3], now, '+inf') > 0 then
    return redis.error_reply('ERR the account is used by another version of xtremeflow')
  end
  account = nil
end

local function told(row)
  for i, value in ipairs(row) do
    row[i] = type(value) == 'number' and string.format('%.17g', value) or value
  end
  return row
end

local function member_of(name)
  local found = redis.call('HGET', KEYS[2], name)
  return found and cmsgpack.unpack(found)
end

-- A key may be a new one where a name is new in it.
local function keep(name, record)
  if redis.call('HSET', KEYS[2], name, cmsgpack.pack(record)) == 1 then
    redis.call('PEXPIRE', KEYS[2], KEPT)
  end
end

local function rank(key, score, name)
  if redis.call('ZADD', key, score, name) == 1 then
    redis.call('PEXPIRE', key, KEPT)
  end
end

local function save()
  if now - account.renewed > RENEWAL then
    account.renewed = now
    for i = 2, #KEYS do
      redis.call('PEXPIRE', KEYS[i], KEPT)
    end
  end
  redis.call('SET', KEYS[1], cmsgpack.pack(account), 'PX', KEPT)
end

local function publish(member, message)
  local channel = KEYS[1] .. ':news'
  redis.call('PUBLISH', member == '' and channel or channel .. ':' .. member, message)
end
