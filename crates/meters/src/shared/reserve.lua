-- Takes from all claims or from none.
-- Answers {1, per claim: requests, tokens, places, per budget: used}, or {0, claim, limit, budget, max, used, wait},
-- or {2, claim, budget, …} with the purses that must be seeded first. Counted from 0; a wait of -1 is for ever.
local id, lease, tokens, money, free = take(), number(), take(), take(), take() == '1'
local claims, missing = {}, {}

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

for _, claim in ipairs(claims) do
  claim.parallel = claim.parallel and true or nil
  local state = claim.state
  if claim.parallel then state.p = state.p + 1 end
  if claim.rate then claim.slot = count(state, claim.width, 1, tonumber(tokens)) end
end
hold(id, lease, tokens, money, claims)
local answer = { 1 }
for _, claim in ipairs(claims) do
  local state = claim.state
  for _, sum in ipairs({ state.n, state.t, state.p }) do answer[#answer + 1] = sum end
  for _, budget in ipairs(claim.budgets) do answer[#answer + 1] = budget.used + money end
end
return answer
