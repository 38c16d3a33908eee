-- Slots: which members have some, and which wait for some.

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
  rank(KEYS[5], account.ticket, member)
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
  local is_new = slots < ask.want and not redis.call('ZSCORE', KEYS[5], member)
  if slots >= ask.want then
    redis.call('ZREM', KEYS[5], member)
  elseif is_new then
    wait_for_slots(member)
  end
  hand_out(member, record)
  if is_new and redis.call('ZSCORE', KEYS[5], member) and redis.call('ZCARD', KEYS[5]) == 1 then
    publish('', 'crowd')
  end
end
