-- A timeline for a Valkey or Redis server: see timeline.py, which says the same in Python and
-- explains it. A change of one is a change of the other.
--
-- KEYS: the account; its members; when each speaks again at the latest; when each has asked last;
--       those that wait for slots.
-- ARGV: the command, and what it takes. Numbers go and come as texts of 17 digits.

local CHUNK, TRIPS, LONGEST, FORGET, CLOSED = 200000, 3, 1000000, 8, 1.5
local LATE_AT_ONCE, RECOVERY, ROUNDING = 50000, 14, 1e-9
local ACTIVE, SILENCE, MINUTE, CHECK = 1000000, 30000000, 60000000, 1000000
local NOW, END, START = 2, 7, 18 -- places of the instants in an answer to an ask
local KEPT = 86400000 -- ms for which an account without commands is kept

local command, next_argument = ARGV[1], 2

local function text()
  next_argument = next_argument + 1
  return ARGV[next_argument - 1]
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

-- ---- reading and writing

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

local function keep(name, record)
  redis.call('HSET', KEYS[2], name, cmsgpack.pack(record))
end

local function save()
  redis.call('SET', KEYS[1], cmsgpack.pack(account), 'PX', KEPT)
  if now - account.touched > MINUTE then
    account.touched = now
    for i = 2, #KEYS do
      redis.call('PEXPIRE', KEYS[i], KEPT)
    end
  end
end

local function publish(member, message)
  local channel = KEYS[1] .. ':news'
  redis.call('PUBLISH', member == '' and channel or channel .. ':' .. member, message)
end

-- ---- time and levels

local function rate_of(line)
  return line.amount / line.per / 1e6
end

local function room_of(line)
  return math.max(0, line.capacity - rate_of(line) * account.margin)
end

local function tick()
  local shorter = math.floor(math.max(0, now - account.last) / FORGET)
  account.span = math.max(CHUNK, account.span - shorter)
  local back = account.last - now
  if back > 0 then
    account['end'] = account['end'] - back
    account.closed = account.closed - back
    account.margin_at = account.margin_at - back
    for _, line in ipairs(account.limits) do
      line.at = line.at - back
      line.late_at = line.late_at - back
    end
    local members = redis.call('HGETALL', KEYS[2])
    for i = 1, #members, 2 do
      local record = cmsgpack.unpack(members[i + 1])
      record.start = record.start - back
      keep(members[i], record)
    end
  end
  account.last = now
  account.operations = account.operations + 1
  if account.margin > 0 and now - account.margin_at > MINUTE then
    account.margin = math.floor(account.margin * 15 / 16)
    account.margin_at = now
  end
  for _, line in ipairs(account.limits) do
    local rate = rate_of(line)
    if now > line.at then
      line.level = math.min(room_of(line), line.level + rate * (now - line.at))
      line.at = now
    end
    line.late = math.max(0, line.late - rate / RECOVERY * (now - line.late_at))
    line.late_at = now
  end
end

local function define(line, amount, per, capacity)
  line.amount, line.per, line.capacity = amount, per, capacity
  line.level = math.min(line.level, room_of(line))
end

local function give_back(unused, refunded)
  for i, line in ipairs(account.limits) do
    line.used = line.used - (unused[i] + refunded[i])
    local taken = math.max(0, math.min(unused[i], rate_of(line) * LATE_AT_ONCE - line.late))
    line.late = line.late + taken
    line.level =
      math.min(math.max(line.level, room_of(line)), line.level + taken + refunded[i])
  end
end

-- ---- slots

local function fair_for(member)
  local others = redis.call('ZCARD', KEYS[5])
  if redis.call('ZSCORE', KEYS[5], member) then
    others = others - 1
  end
  if account.slots >= 0 and (others > 0 or account.out > account.slots) then
    return math.floor(account.slots / math.max(1, account.wanting))
  end
  return -1
end

local function wait_for_slots(member)
  account.ticket = account.ticket + 1
  redis.call('ZADD', KEYS[5], account.ticket, member)
end

-- Gives free slots to those that wait, in turn. `asking` (or '') has `own`, which is not kept yet.
local function hand_out(asking, own)
  if account.slots < 0 then
    return
  end
  local fair = math.floor(account.slots / math.max(1, account.wanting))
  while account.out < account.slots do
    local first = redis.call('ZRANGE', KEYS[5], 0, 0)[1]
    if not first then
      return
    end
    local record = first == asking and own or member_of(first)
    local give = math.min(account.slots - account.out, record.want - record.slots)
    if redis.call('ZCARD', KEYS[5]) > 1 then
      give = math.min(give, math.max(1, fair - record.slots))
    end
    account.out = account.out + give
    record.slots = record.slots + give
    if record.slots >= record.want then
      redis.call('ZREM', KEYS[5], first)
    else
      wait_for_slots(first)
    end
    if first ~= asking then
      keep(first, record)
      publish(first, string.format('slots %.17g %.17g', record.slots, account.operations))
    end
  end
end

local function ask_slots(member, record, ask)
  account.wanting = account.wanting + (ask.want > 0 and 1 or 0) - (record.want > 0 and 1 or 0)
  account.flying = account.flying + ask.held - record.held
  record.held, record.want = ask.held, ask.want
  if account.slots < 0 then
    return
  end
  local slots = math.max(ask.held, record.slots - ask.returned)
  account.out = account.out + slots - record.slots
  record.slots = slots
  if slots >= ask.want then
    redis.call('ZREM', KEYS[5], member)
  elseif not redis.call('ZSCORE', KEYS[5], member) then
    wait_for_slots(member)
  end
  hand_out(member, record)
  if redis.call('ZSCORE', KEYS[5], member) and redis.call('ZCARD', KEYS[5]) == 1 then
    publish('', 'crowd')
  end
end

-- ---- members

local function begin(token, limits, slots)
  account = {
    epoch = token, operations = 0, version = 1, generation = 0, last = now, ['end'] = 0,
    closed = now + math.floor(CLOSED * CHUNK), span = CHUNK, margin = 0, margin_at = now, out = 0,
    wanting = 0, ticket = 0, flying = 0, waiting = 0, slots = slots, touched = 0, limits = {},
  }
  for i, limit in ipairs(limits) do
    account.limits[i] = {
      name = limit[1], amount = limit[2], per = limit[3], capacity = limit[4], level = 0, at = now,
      late = 0, late_at = now, used = 0,
    }
  end
  redis.call('DEL', KEYS[2], KEYS[3], KEYS[4], KEYS[5])
  publish('', 'epoch')
end

local function described()
  local row = {
    'limits', now, account.epoch, account.operations, account.version, account.generation,
    account['end'], redis.call('HLEN', KEYS[2]), account.slots, account.belief,
  }
  for _, line in ipairs(account.limits) do
    row[#row + 1] = line.name
    row[#row + 1] = line.amount
    row[#row + 1] = line.per
    row[#row + 1] = line.capacity
  end
  return told(row)
end

local function remove(member, record)
  redis.call('HDEL', KEYS[2], member)
  account.out = account.out - record.slots
  account.flying = account.flying - record.held
  account.wanting = account.wanting - (record.want > 0 and 1 or 0)
  account.waiting = account.waiting - (record.waits > 0 and 1 or 0)
  for i = 3, 5 do
    redis.call('ZREM', KEYS[i], member)
  end
end

local function bury(member, record)
  if record.start > now then
    local none = {}
    for i = 1, #account.limits do
      none[i] = 0
    end
    give_back(record.units, none)
  end
  remove(member, record)
end

-- Buries the most overdue member, or returns it for a look at its connection.
local function find_dead(member)
  local first = redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')
  if tonumber(first[2]) >= now or first[1] == member then
    return {'', '', 0}
  end
  local record = member_of(first[1])
  if not record then
    redis.call('ZREM', KEYS[3], first[1])
    return {'', '', 0}
  end
  if now - record.seen > SILENCE then
    bury(first[1], record)
    return {'', '', 0}
  end
  redis.call('ZADD', KEYS[3], now + CHECK, first[1])
  return {first[1], record.connection, record.seen}
end

local function has_names(limits)
  local same = #limits == #account.limits
  for i, limit in ipairs(limits) do
    same = same and account.limits[i].name == limit[1]
  end
  return same
end

-- ---- commands

local commands = {}

function commands.join()
  local member, connection, token = text(), text(), text()
  local patience, slots, belief, limits = number(), number(), text(), {}
  for i = 1, (#ARGV - next_argument + 1) / 4 do
    limits[i] = {text(), number(), number(), number()}
  end
  local is_empty = redis.call('HLEN', KEYS[2]) == 0
  if not account or (is_empty and not has_names(limits)) then
    begin(token, limits, slots)
    is_empty = true
  end
  tick()
  if is_empty then
    for i, line in ipairs(account.limits) do
      define(line, limits[i][2], limits[i][3], limits[i][4])
    end
    account.slots, account.belief = slots, belief
    account.version = account.version + 1
  end
  local record = member_of(member)
    or {number = 0, reply = {}, slots = 0, held = 0, want = 0, start = 0, units = {}, used = {},
        waits = 0}
  record.connection, record.seen = connection, now
  keep(member, record)
  redis.call('ZADD', KEYS[3], now + patience, member)
  save()
  return described()
end

function commands.describe()
  return account and described() or {'unknown'}
end

function commands.leave()
  local member, epoch, generation = text(), text(), number()
  local record = account and member_of(member)
  if not record then
    return {'unknown'}
  end
  tick()
  record = member_of(member)
  local unused, refunded = numbers(#account.limits), numbers(#account.limits)
  if epoch == account.epoch and generation == account.generation then
    give_back(unused, refunded)
  end
  remove(member, record)
  hand_out('')
  save()
  return {'ok'}
end

function commands.bury()
  local member, seen = text(), number()
  if not (account and member_of(member)) then
    return {'unknown'}
  end
  tick()
  local record = member_of(member)
  if record.seen == seen then
    bury(member, record)
    hand_out('')
  end
  save()
  return {'ok'}
end

local function lengthen(ask)
  local longer = math.min(LONGEST, TRIPS * ask.trip) - account.span
  if longer > 0 then
    account.span = account.span + longer
    if now < account.closed then
      account.closed = account.closed + math.floor(CLOSED * longer)
    end
  end
end

local function grant(record, ask, active)
  if ask.count < 1 then
    return {-1}
  end
  local earliest = now + math.floor(ask.trip * 3 / 4)
  local start = math.max(earliest, account['end'], account.closed)
  local behind = ask.count - 1
  for i, line in ipairs(account.limits) do
    local head, mean, rate = ask.head[i], ask.mean[i], rate_of(line)
    local lack = math.min(head, room_of(line)) - line.level
    start = math.max(start, lack > 0 and line.at + lack / rate or line.at)
    if mean > 0 and active ~= ask.parts then
      behind = math.min(behind, (rate * account.span / active - head) / mean - ROUNDING)
    end
  end
  if active == ask.parts then
    behind = math.min(behind, ask.exact - 1)
  end
  behind = math.ceil(math.max(0, behind))
  record.start, record.units = math.ceil(start), {}
  local chunk = {record.start}
  for i, line in ipairs(account.limits) do
    local gained = line.level + rate_of(line) * (record.start - line.at)
    local level = math.max(line.level, math.min(room_of(line), gained))
    local units = ask.head[i] + math.floor(behind * ask.mean[i] + 0.5)
    line.level, line.at = level - units, record.start
    line.used = line.used + units
    record.units[i] = units
    chunk[#chunk + 1] = level
    chunk[#chunk + 1] = units
  end
  return chunk
end

function commands.take()
  local member = text()
  local record = account and member_of(member)
  if not record then
    return {'unknown'}
  end
  local ask = {
    number = number(), epoch = text(), operations = number(), generation = number(),
    held = number(), want = number(), returned = number(), count = number(),
    exact = number(), parts = number(), trip = number(), patience = number(),
    connection = text(), token = text(),
  }
  if ask.number == record.number then
    local back = math.max(0, record.reply[NOW] - now)
    for _, place in ipairs({END, START}) do
      if record.reply[place] > 0 then
        record.reply[place] = record.reply[place] - back
      end
    end
    record.reply[NOW] = now
    return told(record.reply)
  end
  local n = #account.limits
  local unused, refunded = numbers(n), numbers(n)
  ask.head, ask.mean, ask.used = numbers(n), numbers(n), numbers(n)
  local rewound = ask.epoch == account.epoch and ask.operations > account.operations
  tick()
  record = member_of(member)
  if rewound then
    account.epoch, account.closed = ask.token, now + math.floor(CLOSED * account.span)
    for _, line in ipairs(account.limits) do
      line.level = math.min(line.level, 0)
    end
    publish('', 'epoch')
  elseif ask.epoch == account.epoch and ask.generation == account.generation then
    give_back(unused, refunded)
  end
  record.number, record.seen = ask.number, now
  account.waiting = account.waiting + (ask.count > 0 and 1 or 0) - (record.waits > 0 and 1 or 0)
  record.connection, record.used, record.waits = ask.connection, ask.used, ask.count
  redis.call('ZADD', KEYS[3], now + ask.patience, member)
  local suspect = find_dead(member)
  ask_slots(member, record, ask)
  if ask.count > 0 then
    redis.call('ZADD', KEYS[4], now, member)
  elseif ask.count < 0 then
    redis.call('ZREM', KEYS[4], member)
  end
  lengthen(ask)
  local since = string.format('(%.17g', now - math.max(ACTIVE, 2 * account.span))
  local active = math.max(1, redis.call('ZCOUNT', KEYS[4], since, '+inf'))
  local chunk = grant(record, ask, active)
  record.reply = {
    'taken', now, account.epoch, account.operations, account.version, account.generation,
    account['end'], active, account.span, redis.call('HLEN', KEYS[2]), account.flying,
    account.waiting, record.slots, fair_for(member), suspect[1], suspect[2], suspect[3],
    unpack(chunk),
  }
  for _, line in ipairs(account.limits) do
    record.reply[#record.reply + 1] = line.used
  end
  keep(member, record)
  save()
  return told(record.reply)
end

function commands.refused()
  local epoch, generation, wait, margin = text(), number(), number(), number()
  if not account then
    return {'unknown'}
  end
  local levels, is_episode = {}, false
  for i = 1, #account.limits do
    levels[i] = tonumber(text()) or false
    is_episode = is_episode or levels[i] ~= false
  end
  tick()
  local before, finish = account['end'], now + wait
  if is_episode and epoch == account.epoch and generation == account.generation then
    account.generation = account.generation + 1
  end
  account['end'] = math.max(before, finish)
  if margin > account.margin then
    account.margin, account.margin_at = margin, now
  end
  for i, line in ipairs(account.limits) do
    if levels[i] and finish > before then
      line.level, line.at = levels[i], finish
    end
  end
  publish('', string.format('pause %.17g %.17g', account.generation, account['end']))
  save()
  return told({'ok', now, account.epoch, account.generation, account['end']})
end

function commands.retune()
  local index, amount, per, capacity = number(), number(), number(), number()
  if not account then
    return {'unknown'}
  end
  tick()
  account.version = account.version + 1
  if index < 0 then
    account.slots = amount
    hand_out('')
  else
    define(account.limits[index + 1], amount, per, capacity)
  end
  publish('', string.format('limits %.17g', account.version))
  save()
  return told({'ok', now, account.version})
end

function commands.learn()
  local version, belief = number(), text()
  if not account then
    return {'unknown'}
  end
  tick()
  if version >= 0 and version ~= account.version then
    save()
    return told({'stale', now, account.version})
  end
  account.version, account.belief = account.version + 1, belief
  while next_argument <= #ARGV do
    local line = account.limits[number() + 1]
    define(line, number(), number(), number())
    local level = tonumber(text())
    if level and not (line.at == account['end'] and line.at > now) then
      line.level = math.min(room_of(line), level + rate_of(line) * (line.at - now))
    end
  end
  publish('', string.format('limits %.17g', account.version))
  save()
  return told({'ok', now, account.version})
end

function commands.status()
  if not account then
    return false
  end
  local state = {
    limits = {}, members = {}, slots = account.slots,
    cooldown_left = math.max(0, account['end'] - now), generation = account.generation,
    version = account.version, belief = account.belief,
  }
  for i, line in ipairs(account.limits) do
    local gained = line.level + rate_of(line) * math.max(0, now - line.at)
    state.limits[i] = {
      name = line.name, amount = line.amount, per = line.per, capacity = line.capacity,
      level = math.min(room_of(line), gained), used = line.used,
    }
  end
  local members = redis.call('HGETALL', KEYS[2])
  for i = 1, #members, 2 do
    local record = cmsgpack.unpack(members[i + 1])
    state.members[#state.members + 1] = {
      member = members[i], connection = record.connection, silent = math.max(0, now - record.seen),
      seen = string.format('%.17g', record.seen), slots = record.slots, held = record.held,
      waits = record.waits, used = record.used,
    }
  end
  return cjson.encode(state)
end

return commands[command]()
