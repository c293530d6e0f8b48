-- Takes from all claims or from none.
-- Answers {1, more, places, valid, per claim: requests, tokens, places, per budget: used},
-- or {0, claim, limit, budget, max, used, wait}, or {2, claim, budget, …} with the purses that must be seeded first.
-- Counted from 0; a wait of -1 is for ever.
--
-- Who wishes for more than one call gets as many more as are a small part of what is left of every claim, or none. They
-- are counted in a slot that is still to come, for calls that are admitted until its end: `valid` milliseconds. A call
-- then counts for a minute at least, whenever it is admitted.
local id, lease, tokens, money, free = take(), number(), take(), take(), take() == '1'
-- How many more, what each takes, which part of what is left these may be at most, and of places.
local wish, each_tokens, each_money, part, part_of_places = number(), 0, 0, 1, 1
if wish > 0 then each_tokens, each_money, part, part_of_places = number(), number(), number(), number() end
local more, room = wish, wish
-- Fewer than this are not worth it, and a limit this narrow is to be kept call by call.
local LEAST = 4
-- Slots that are still to come end with a multiple of this many milliseconds; every width of a slot divides it.
local AHEAD = 64
local claims, missing = {}, {}

-- More calls only as long as they take a small part of what is left.
local function bound(left, each)
  if each > 0 then more = math.min(more, math.floor(left / (part * each))) end
end

-- Milliseconds until so much of the last minute is over.
local function wait(scope, requests, wanted)
  local state, slots = scope_key(scope), slots_key(scope)
  local at, freed, freed_tokens = 0, 0, 0
  while true do
    local some = redis.call('LRANGE', slots, at, at + 63)
    if #some == 0 then return -1 end
    for _, slot in ipairs(some) do
      local both = redis.call('HMGET', state, 'q' .. slot, 'k' .. slot)
      freed, freed_tokens = freed + (both[1] or 0), freed_tokens + (both[2] or 0)
      if freed >= requests and freed_tokens >= wanted then return slot + MINUTE - now end
    end
    at = at + 64
  end
end

local function check(claim)
  for index, budget in ipairs(claim.budgets) do
    local _, start, seeded, used = open(claim.scope, budget.window, budget.start)
    budget.start, budget.used = start, used
    if not seeded then
      missing[#missing + 1] = claim.index
      missing[#missing + 1] = index - 1
    elseif budget.max and not free then
      if used >= budget.max or used + money > budget.max then
        return { 0, claim.index, 3, index - 1, budget.max, used, -1 }
      end
      if more > 0 then bound(budget.max - used - money, each_money) end
    end
  end
  local state = state_of(claim.scope)
  claim.state = state
  if claim.rate then forget(state) end
  local requests, used, places = state.n, state.t, state.p
  if claim.rpm and requests >= claim.rpm then
    local pause = claim.rpm == 0 and -1 or wait(claim.scope, requests - claim.rpm + 1, 0)
    return { 0, claim.index, 0, 0, claim.rpm, requests, pause }
  end
  local wanted = math.max(tonumber(tokens), 1)
  if claim.tpm and used + wanted > claim.tpm then
    local pause = wanted > claim.tpm and -1 or wait(claim.scope, 0, used + wanted - claim.tpm)
    return { 0, claim.index, 1, 0, claim.tpm, used, pause }
  end
  if claim.parallel and places >= claim.parallel then
    return { 0, claim.index, 2, 0, claim.parallel, places, claim.parallel == 0 and -1 or 1000 }
  end
  if more > 0 then
    if claim.rpm then bound(claim.rpm - requests - 1, 1) end
    if claim.tpm then bound(claim.tpm - used - wanted, math.max(each_tokens, 1)) end
    if claim.parallel then room = math.min(room, math.floor((claim.parallel - places - 1) / part_of_places)) end
  end
end

reap()
for index = 1, number() do
  local claim = { index = index - 1, scope = take(), rpm = number(), tpm = number(), parallel = number() }
  claim.width, claim.budgets = number(), {}
  claim.rate = claim.rpm or claim.tpm
  for _ = 1, number() do
    claim.budgets[#claim.budgets + 1] = { window = take(), start = take(), max = number() }
  end
  claims[index] = claim
  local refused = check(claim)
  if refused and #missing == 0 then return refused end
  if refused then break end
end
if #missing > 0 then
  table.insert(missing, 1, 2)
  return missing
end

if more < LEAST or room < LEAST then more = 0 end
local ahead
local requests, places = 1 + more, 1 + math.min(more, room)
if more > 0 then
  ahead = now - now % AHEAD + 2 * AHEAD - 1
  tokens, money = int(tokens + more * each_tokens), int(money + more * each_money)
end
for _, claim in ipairs(claims) do
  claim.parallel = claim.parallel and true or nil
  local state = claim.state
  if claim.parallel then state.p = state.p + places end
  if claim.rate then claim.slot = count(state, claim.width, requests, tonumber(tokens), ahead) end
end
hold(id, lease, requests, tokens, money, places, claims)
local answer = { 1, more, places, ahead and ahead - now or 0 }
for _, claim in ipairs(claims) do
  local state = claim.state
  for _, sum in ipairs({ state.n, state.t, state.p }) do answer[#answer + 1] = sum end
  for _, budget in ipairs(claim.budgets) do answer[#answer + 1] = budget.used + money end
end
return answer
