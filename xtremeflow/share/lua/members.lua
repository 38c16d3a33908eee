-- Members: how they join and leave, and how the dead are found.

local function begin(token, limits, slots)
  account = {
    format = FORMAT, epoch = token, operations = 0, version = 1, generation = 0, last = now,
    ['end'] = 0, renewed = now, closed = now + math.floor(CLOSED * CHUNK), span = CHUNK,
    margin = 0, margin_at = now, out = 0, wanting = 0, ticket = 0, flying = 0, waiting = 0, slots = slots, limits = {},
    outage = no_outage(0), borrower = '', due = 0, loan = 0, recalled = false,
  }
  for i, limit in ipairs(limits) do
    account.limits[i] = {
      name = limit[1], amount = limit[2], per = limit[3], capacity = limit[4], level = 0, at = now,
      late = 0, late_at = now, used = 0, lowered = 0,
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
  if member == account.borrower then
    default(record)
  end
  redis.call('HDEL', KEYS[2], member)
  account.out = account.out - record.slots
  account.flying = account.flying - record.held
  account.wanting = account.wanting - (record.want > 0 and 1 or 0)
  account.waiting = account.waiting - (record.waits > 0 and 1 or 0)
  note_left(member)
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
  rank(KEYS[3], now + CHECK, first[1])
  return {first[1], record.connection, record.seen}
end

local function has_names(limits)
  local same = #limits == #account.limits
  for i, limit in ipairs(limits) do
    same = same and account.limits[i].name == limit[1]
  end
  return same
end
