-- Time and levels, and the chunks that are taken from them.

local function rate_of(line)
  return line.amount / line.per / 1e6
end

local function room_of(line)
  return math.max(0, line.capacity - rate_of(line) * account.margin)
end

local function level_at(line, instant)
  local gained = line.level + rate_of(line) * (instant - line.at)
  return math.max(line.level, math.min(room_of(line), gained))
end

local function tick()
  local shorter = math.floor(math.max(0, now - account.last) / FORGET)
  account.span = math.max(CHUNK, account.span - shorter)
  local back = account.last - now
  if back > 0 then
    account['end'] = account['end'] - back
    account.closed = account.closed - back
    account.margin_at = account.margin_at - back
    account.due = account.due - back
    turn_outage_back(back)
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

local function lower(rests)
  for i, line in ipairs(account.limits) do
    local left, used, at = rests[3 * i - 2], rests[3 * i - 1], rests[3 * i]
    if left >= 0 and not (line.at == account['end'] and line.at > now) then
      local gained = rate_of(line) * (line.at - at)
      local most = left - (line.capacity - room_of(line)) + gained - (line.used - used)
      local level = math.min(line.level, math.max(most, 0))
      line.lowered = line.lowered + line.level - level
      line.level = level
    end
  end
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

local function opens(instant)
  return math.max(instant, account['end'], account.closed)
end

local function end_loan()
  if account.recalled then
    publish('', 'room')
  end
  account.borrower, account.recalled = '', false
end

local function recall()
  publish(account.borrower, 'recall')
end

local function default(record)
  for i, line in ipairs(account.limits) do
    local lost = math.max(0, line.level) + math.max(0, record.units[i] - room_of(line))
    line.level = line.level - lost
    line.used = line.used + (lost + rate_of(line) * account.loan)
  end
  end_loan()
end

local function is_lent()
  if account.borrower ~= '' and not account.recalled then
    account.recalled = true
    rank(KEYS[3], now + TRUST, account.borrower)
    recall()
  end
  if account.borrower ~= '' and now > account.due then
    default(member_of(account.borrower))
  end
  return account.borrower ~= ''
end

local function may_lend(ask, active)
  local is_simple = #account.limits > 0 and account.belief == '' and account.margin == 0
  local first, is_free = opens(now), account.borrower == ''
  for _, line in ipairs(account.limits) do
    is_free = is_free and line.at <= first
  end
  local is_alone = active == 1 and account.waiting == 1
  return is_simple and is_free and is_alone and ask.loan ~= UNWANTED
end

local function lend(member, record, ask)
  local start = opens(now)
  local is_alone = account.borrower ~= '' and not account.recalled
  account.loan = is_alone and math.min(LONGEST_LOAN, 2 * account.loan) or LOAN
  local chunk = {start, start + account.loan}
  for _, line in ipairs(account.limits) do
    chunk[#chunk + 1] = level_at(line, start)
    chunk[#chunk + 1] = -1
  end
  record.units = ask.head
  account.borrower, account.due = member, start + account.loan + TRUST
  rank(KEYS[3], account.due, member)
  return chunk
end

local function hear_of_loan(record, ask)
  if ask.loan ~= HAS_LOAN and ask.loan ~= RETURNED then
    default(record)
    return
  end
  for i, line in ipairs(account.limits) do
    line.level = math.min(ask.levels[i], room_of(line))
    line.used = line.used + (ask.used[i] - (record.used[i] or ask.used[i]))
  end
  if ask.loan == RETURNED or account.outage.interval > 0 then
    end_loan()
  elseif account.recalled then
    recall()
  end
end

local function grant(record, ask, active)
  if is_lent() then
    return {-1, -1}
  end
  local earliest = now + math.floor(ask.trip * 3 / 4)
  local start = opens(earliest)
  local behind = ask.waits - 1
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
  local chunk = {record.start, -1}
  for i, line in ipairs(account.limits) do
    local level = level_at(line, record.start)
    local units = ask.head[i] + math.floor(behind * ask.mean[i] + 0.5)
    line.level, line.at = level - units, record.start
    line.used = line.used + units
    record.units[i] = units
    chunk[#chunk + 1] = level
    chunk[#chunk + 1] = units
  end
  return chunk
end

local function grant_single(member, record, ask)
  local start = now + math.floor(ask.trip * 3 / 4)
  local has_slot = account.slots < 0 or record.slots > record.held
  if start < opens(account.outage.next) or not has_slot then
    return {-1, -1}
  end
  note_admitted(member, start)
  record.start, record.units = start, ask.head
  local chunk = {start, -1}
  for i, line in ipairs(account.limits) do
    line.level = line.level - ask.head[i]
    line.used = line.used + ask.head[i]
    chunk[#chunk + 1] = ask.head[i]
    chunk[#chunk + 1] = ask.head[i]
  end
  return chunk
end
