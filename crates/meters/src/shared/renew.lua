-- Prolongs the leases of a process's calls, and takes again what this store has forgotten or never knew.
local lease = number()
for _ = 1, number() do
  local id, tokens, money, places = take(), take(), take(), number()
  local claims = {}
  for index = 1, number() do
    local claim = { scope = take(), parallel = take() == '1' or nil, budgets = {} }
    for _ = 1, number() do
      claim.budgets[#claim.budgets + 1] = { window = take(), start = take() }
    end
    claims[index] = claim
  end
  if redis.call('EXISTS', hold_key(id)) == 1 then
    redis.call('ZADD', leases, int(now + lease), id)
    for _, claim in ipairs(claims) do redis.call('PEXPIRE', scope_key(claim.scope), IDLE) end
  else
    for _, claim in ipairs(claims) do
      local current = {}
      for _, budget in ipairs(claim.budgets) do
        local _, reached = open(claim.scope, budget.window, budget.start)
        if reached == budget.start then current[#current + 1] = budget end
      end
      claim.budgets = current
    end
    hold(id, lease, 1, tokens, money, places, claims)
  end
end
return 0
