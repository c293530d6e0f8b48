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
        uncount(claim.scope, claim.slot, 1, tonumber(record.tokens))
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

for settlement = 0, number() - 1 do
  local id, tokens, money, refused = take(), number(), take(), take() == '1'
  -- What counts if nobody knows the hold: its lease was over, or it was made while this store was away.
  local requests, unknown_tokens = take(), take()
  -- Scopes the call went on without.
  local apart = { refused = take() == '1' }
  for _ = 1, number() do apart[take()] = true end
  local record = held(id)
  local starts = {}
  if record then
    -- Another process may have been in the next window already when this was held.
    for _, claim in ipairs(record.claims) do
      for _, purse in ipairs(claim.purses) do starts[purse[1] .. ' ' .. claim.scope] = purse[2] end
    end
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
end
return alerts
