-- Ends holds with what was really used: a batch of one process, applied once however often it is sent.
-- Answers the soft budgets that were reached: {settlement, claim, budget, spent, …}, counted from 0.
local process, batch = take(), take()
local done = space .. ':done:' .. process
if tonumber(redis.call('GET', done) or 0) >= tonumber(batch) then return {} end
redis.call('SET', done, batch, 'PX', WEEK)
local alerts = {}

-- Corrects what was counted when the call was admitted. In the scopes apart no token was used.
local function correct(record, tokens, refused, apart)
  for _, claim in ipairs(record.claims) do
    if claim.slot then
      local more, nothing = tokens - record.tokens, refused
      if apart[claim.scope] then more, nothing = -record.tokens, apart.refused end
      if nothing then
        uncount(claim.scope, claim.slot, record.requests, tonumber(record.tokens))
      elseif more < 0 then
        uncount(claim.scope, claim.slot, 0, -more)
      elseif more > 0 then
        local state = state_of(claim.scope)
        forget(state)
        count(state, claim.width, 0, more)
      end
    end
  end
end

-- The windows a hold's money is in: another process may have been in the next one already when it was held.
local function starts_of(record)
  local starts = {}
  for _, claim in ipairs(record.claims) do
    for _, purse in ipairs(claim.purses) do starts[purse[1] .. ' ' .. claim.scope] = purse[2] end
  end
  return starts
end

-- Spends money in the purses of a claim, which are the next arguments.
local function spend(settlement, index, scope, starts, money)
  for purse = 0, number() - 1 do
    local window, start, soft = take(), take(), number()
    start = starts[window .. ' ' .. scope] or start
    local key, reached, seeded, _, doubted = open(scope, window, start)
    seeded = seeded or doubted
    -- Who seeds this purse finds it in the ledger, or does not find it yet.
    if reached == start and not seeded and money ~= '0' then doubt(scope, window) end
    if reached == start and seeded and money ~= '0' then
      local spent = redis.call('HINCRBY', key, 'u', money)
      if soft and spent >= soft and tonumber(redis.call('HGET', key, 'a') or -1) < soft then
        redis.call('HSET', key, 'a', int(soft))
        for _, item in ipairs({ settlement, index, purse, spent }) do alerts[#alerts + 1] = item end
      end
    end
  end
end

local settlements = number()
for settlement = 0, settlements - 1 do
  local id, tokens, money, refused = take(), number(), take(), take() == '1'
  -- What counts if nobody knows the hold: its lease was over, or it was made while this store was away.
  local requests, unknown_tokens = take(), take()
  -- Scopes the call went on without.
  local apart = { refused = take() == '1' }
  for _ = 1, number() do apart[take()] = true end
  local record = held(id)
  local starts = {}
  if record then
    starts = starts_of(record)
    release(id, record)
    correct(record, tokens, refused, apart)
  end
  for index = 0, number() - 1 do
    local scope, rate, width = take(), take() == '1', number()
    if not record and not refused and rate and (requests ~= '0' or unknown_tokens ~= '0') then
      local state = state_of(scope)
      forget(state)
      count(state, width, tonumber(requests), tonumber(unknown_tokens))
    end
    spend(settlement, index, scope, starts, money)
  end
end

-- What calls of a block have used since this was told last, and what nobody needs any more. When it is over, all that is
-- left of it comes back.
for settlement = settlements, settlements + number() - 1 do
  local id, over, places, money = take(), take() == '1', number(), number()
  local record = held(id)
  local starts, slots = {}, {}
  if record then
    starts = starts_of(record)
    for _, claim in ipairs(record.claims) do slots[claim.scope] = claim.slot end
    if over then
      release(id, record)
    else
      lessen(record, places, money)
      record.money = int(record.money)
      redis.call('SET', hold_key(id), cmsgpack.pack(record))
    end
  end
  for index = 0, number() - 1 do
    local scope, rate, width = take(), take() == '1', number()
    local requests, tokens, beyond, spent = number(), number(), number(), take()
    if slots[scope] and (requests ~= 0 or tokens ~= 0) then uncount(scope, slots[scope], requests, tokens) end
    if rate and beyond ~= 0 then
      local state = state_of(scope)
      forget(state)
      count(state, width, 0, beyond)
    end
    spend(settlement, index, scope, starts, spent)
  end
end

-- What a scope has spent changes though no call spent it, in every purse that the ledger is not asked for anyway. The
-- process that tells of it has done so for some windows already.
for _ = 1, number() do
  local scope, money, known = take(), take(), {}
  for _ = 1, number() do known[take()] = true end
  for _, window in ipairs(redis.call('SMEMBERS', windows_key(scope))) do
    local key = purse_key(scope, window)
    local found = redis.call('HMGET', key, 'k', 'd')
    if not known[window] and (found[1] or found[2]) then redis.call('HINCRBY', key, 'u', money) end
  end
end
return alerts
