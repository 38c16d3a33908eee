-- The commands.

local commands = {}

function commands.join()
  local member, connection, token = text(), text(), text()
  local patience, slots, belief, limits = number(), number(), text(), {}
  for i = 1, (#words - next_word + 1) / 4 do
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
  rank(KEYS[3], now + patience, member)
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

function commands.take()
  local member = text()
  local record = account and member_of(member)
  if not record then
    return {'unknown'}
  end
  local ask = {
    number = number(), epoch = text(), operations = number(), generation = number(),
    held = number(), want = number(), returned = number(), waits = number(),
    exact = number(), parts = number(), trip = number(), patience = number(),
    loan = number(),
    tried = {
      answered = number(), failures = number(), sent = number(), took = number(),
      interval = number(),
    },
    connection = text(), token = text(),
  }
  if ask.number == record.number then
    local back = math.max(0, record.reply[NOW] - now)
    for _, place in ipairs({END, NEXT, SENT, START, UNTIL}) do
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
  ask.levels = (ask.loan == HAS_LOAN or ask.loan == RETURNED) and numbers(n)
  ask.told = numbers(3 * n)
  local rewound = ask.epoch == account.epoch and ask.operations > account.operations
  tick()
  record = member_of(member)
  if member == account.borrower then
    hear_of_loan(record, ask)
  end
  if rewound then
    account.epoch, account.closed = ask.token, now + math.floor(CLOSED * account.span)
    account.borrower = ''
    for _, line in ipairs(account.limits) do
      line.level = math.min(line.level, 0)
    end
    publish('', 'epoch')
  elseif ask.epoch == account.epoch and ask.generation == account.generation then
    give_back(unused, refunded)
    lower(ask.told)
  end
  hear_tried(member, ask.tried)
  record.number, record.seen = ask.number, now
  account.waiting = account.waiting + (ask.waits > 0 and 1 or 0) - (record.waits > 0 and 1 or 0)
  record.connection, record.used, record.waits = ask.connection, ask.used, ask.waits
  rank(KEYS[3], now + ask.patience, member)
  local suspect = find_dead(member)
  ask_slots(member, record, ask)
  if ask.waits > 0 then
    rank(KEYS[4], now, member)
  elseif ask.waits < 0 then
    redis.call('ZREM', KEYS[4], member)
  end
  lengthen(ask)
  local since = string.format('(%.17g', now - math.max(ACTIVE, 2 * account.span))
  local active = math.max(1, redis.call('ZCOUNT', KEYS[4], since, '+inf'))
  local chunk, outage = {-1, -1}, account.outage
  if outage.interval > 0 then
    chunk = ask.waits > 0 and grant_single(member, record, ask) or chunk
  elseif member == account.borrower or (ask.waits > 0 and may_lend(ask, active)) then
    chunk = lend(member, record, ask)
  elseif ask.waits > 0 then
    chunk = grant(record, ask, active)
  end
  record.reply = {
    'taken', now, account.epoch, account.operations, account.version, account.generation,
    account['end'], active, account.span, redis.call('HLEN', KEYS[2]), account.flying,
    account.waiting, record.slots, fair_for(member), suspect[1], suspect[2], suspect[3],
    outage.interval, outage.next, outage.longest, outage.sent, outage.prober, unpack(chunk),
  }
  for _, line in ipairs(account.limits) do
    record.reply[#record.reply + 1] = line.used
  end
  for _, line in ipairs(account.limits) do
    record.reply[#record.reply + 1] = line.lowered
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
  if is_episode and account.borrower ~= '' then
    default(member_of(account.borrower))
  end
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
  while next_word <= #words do
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
    outage = account.outage.interval > 0, prober = account.outage.prober,
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
  return state
end

local answer = commands[words[1]]()
return answer and cjson.encode(answer)
