-- An outage of the provider: see outage.py.

local AFTER, UNTRIED = 3, -1

local function no_outage(answered)
  return {interval = 0, first = UNTRIED, next = 0, longest = 0, sent = 0, failures = 0,
          answered = answered, prober = ''}
end

local function tell_outage()
  local o = account.outage
  publish('', string.format('outage %.17g %.17g %.17g %.17g %.17g %s', account.operations,
                            o.interval, o.next, o.longest, o.sent, o.prober))
end

local function note_answered(sent)
  local o = account.outage
  o.answered = math.max(o.answered, sent)
  if sent > o.sent or o.interval == 0 then
    account.outage = no_outage(o.answered)
  end
end

local function note_failed(member, tried, after)
  local o = account.outage
  o.sent = tried.sent
  if tried.failures == 0 then
    return
  end
  o.failures = o.failures + tried.failures
  local longest = o.interval > 0 and math.floor(o.longest / 2) or o.longest
  o.longest = math.max(longest, tried.took)
  if o.failures >= AFTER then
    o.interval, o.first, o.next, o.prober = tried.interval, UNTRIED, after, member
  end
end

local function hear_tried(member, tried)
  local before = account.outage.interval > 0
  if tried.answered > 0 then
    note_answered(tried.answered)
  end
  local o = account.outage
  if tried.sent > math.max(o.answered, o.interval > 0 and o.sent or 0) then
    note_failed(member, tried, math.max(account['end'], now + tried.interval))
  end
  if (account.outage.interval > 0) ~= before then
    tell_outage()
  end
end

local function note_admitted(member, at)
  local o = account.outage
  if o.first == UNTRIED then
    o.first, o.prober = at, member
  end
  o.next = at + o.interval
end

local function note_left(member)
  local o = account.outage
  if o.prober == member then
    local was_tried = o.first ~= UNTRIED
    o.prober, o.first = '', UNTRIED
    if was_tried then
      o.next = account.last
      tell_outage()
    end
  end
end

local function turn_outage_back(back)
  local o = account.outage
  o.next, o.sent, o.answered = o.next - back, o.sent - back, o.answered - back
  o.first = o.first ~= UNTRIED and o.first - back or UNTRIED
end
