-- Common to all scripts. KEYS[1] is the name all keys begin with; its hash tag puts them in one slot of a cluster.
--
-- <space>:s:<scope>           hash: n requests and t tokens of the last minute, p places taken,
--                             q<slot> and k<slot> requests and tokens of one slot
-- <space>:r:<scope>           list of the slots, oldest first; a slot is named by its last millisecond
-- <space>:m:<window>:<scope>  hash: s start of the window, u spent, h held, k set when seeded, a soft budget told
-- <space>:hold:<id>           what a call holds, packed
-- <space>:leases              sorted set of holds by the time their lease ends
-- <space>:processes           sorted set of processes by the time they were last heard of
-- <space>:done:<process>      number of the last batch of a process that was applied
local space = KEYS[1]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local MINUTE, IDLE, WEEK = 60000, 600000, 604800000

-- Numbers as whole digits: Lua alone would write large ones with an exponent, and a zero with a sign.
local function int(number) return number == 0 and '0' or string.format('%.0f', number) end
local function scope_key(scope) return space .. ':s:' .. scope end
local function slots_key(scope) return space .. ':r:' .. scope end
local function purse_key(scope, window) return space .. ':m:' .. window .. ':' .. scope end
local function hold_key(id) return space .. ':hold:' .. id end
local leases = space .. ':leases'

-- Drops what is older than a minute.
local function forget(scope)
  local state, slots = scope_key(scope), slots_key(scope)
  local requests, tokens = 0, 0
  while true do
    local slot = redis.call('LINDEX', slots, 0)
    if not slot or slot + MINUTE > now then break end
    redis.call('LPOP', slots)
    local q, k = 'q' .. slot, 'k' .. slot
    local both = redis.call('HMGET', state, q, k)
    requests, tokens = requests + (both[1] or 0), tokens + (both[2] or 0)
    redis.call('HDEL', state, q, k)
  end
  if requests ~= 0 then redis.call('HINCRBY', state, 'n', int(-requests)) end
  if tokens ~= 0 then redis.call('HINCRBY', state, 't', int(-tokens)) end
end

-- Counts requests and tokens now. Returns the slot they are in.
local function count(scope, width, requests, tokens)
  local state, slots = scope_key(scope), slots_key(scope)
  local slot = int(now - now % width + width - 1)
  local last = redis.call('LINDEX', slots, -1)
  if last and tonumber(last) >= tonumber(slot) then slot = last else redis.call('RPUSH', slots, slot) end
  redis.call('HINCRBY', state, 'q' .. slot, requests)
  redis.call('HINCRBY', state, 'k' .. slot, tokens)
  redis.call('HINCRBY', state, 'n', requests)
  redis.call('HINCRBY', state, 't', tokens)
  redis.call('PEXPIRE', state, IDLE)
  redis.call('PEXPIRE', slots, IDLE)
  return slot
end

-- Undoes what was counted in a slot, unless it is forgotten.
local function uncount(scope, slot, requests, tokens)
  local state = scope_key(scope)
  if redis.call('HEXISTS', state, 'q' .. slot) == 0 then return end
  redis.call('HINCRBY', state, 'q' .. slot, int(-requests))
  redis.call('HINCRBY', state, 'k' .. slot, int(-tokens))
  redis.call('HINCRBY', state, 'n', int(-requests))
  redis.call('HINCRBY', state, 't', int(-tokens))
end

-- Brings a purse to the window that starts then, or to a later one it has reached already. A window that follows one
-- that was seeded starts with nothing spent. Returns its key, start and whether it is seeded.
local function open(scope, window, start, expires)
  local key = purse_key(scope, window)
  local found = redis.call('HMGET', key, 's', 'k')
  local reached = found[1]
  if not reached or tonumber(reached) < tonumber(start) then
    redis.call('HSET', key, 's', start, 'u', '0', 'h', '0')
    redis.call('HDEL', key, 'a')
    reached = start
  end
  -- A purse nobody needs for a week is seeded again; one whose window is over for so long is of no use.
  redis.call('PEXPIRE', key, WEEK)
  return key, reached, found[2]
end

-- Takes places and holds money.
local function hold(id, lease, tokens, money, claims)
  local record = { tokens = tokens, money = money, claims = {} }
  for _, claim in ipairs(claims) do
    if claim.parallel then
      redis.call('HINCRBY', scope_key(claim.scope), 'p', 1)
      redis.call('PEXPIRE', scope_key(claim.scope), IDLE)
    end
    local purses = {}
    for _, budget in ipairs(claim.budgets) do
      redis.call('HINCRBY', purse_key(claim.scope, budget.window), 'h', money)
      purses[#purses + 1] = { budget.window, budget.start }
    end
    record.claims[#record.claims + 1] =
      { scope = claim.scope, slot = claim.slot, width = claim.width, parallel = claim.parallel, purses = purses }
  end
  redis.call('SET', hold_key(id), cmsgpack.pack(record))
  redis.call('ZADD', leases, int(now + lease), id)
end

-- Gives places and held money back. Money whose window is over is gone with it.
local function release(id, record)
  for _, claim in ipairs(record.claims) do
    if claim.parallel and redis.call('HINCRBY', scope_key(claim.scope), 'p', -1) < 0 then
      redis.call('HSET', scope_key(claim.scope), 'p', 0)
    end
    for _, purse in ipairs(claim.purses) do
      local key = purse_key(claim.scope, purse[1])
      if redis.call('HGET', key, 's') == purse[2] then
        if redis.call('HINCRBY', key, 'h', '-' .. record.money) < 0 then redis.call('HSET', key, 'h', 0) end
      end
    end
  end
  redis.call('DEL', hold_key(id))
  redis.call('ZREM', leases, id)
end

local function held(id)
  local packed = redis.call('GET', hold_key(id))
  return packed and cmsgpack.unpack(packed)
end

-- Ends the holds whose process has not been heard of for the length of a lease.
local function reap()
  for _ = 1, 20 do
    local over = redis.call('ZRANGEBYSCORE', leases, '-inf', int(now), 'LIMIT', 0, 50)
    for _, id in ipairs(over) do
      local record = held(id)
      if record then release(id, record) else redis.call('ZREM', leases, id) end
    end
    if #over < 50 then return end
  end
end

-- Arguments, one after the other.
local position = 0
local function take()
  position = position + 1
  return ARGV[position]
end
local function number() return tonumber(take()) end
