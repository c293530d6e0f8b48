-- Common to all scripts. KEYS[1] is the name all keys begin with; its hash tag puts them in one slot of a cluster.
--
-- <space>:s:<scope>           hash: n requests and t tokens of the last minute, p places taken,
--                             q<slot> and k<slot> requests and tokens of one slot, f and l the first and last slot,
--                             e when its life was last prolonged
-- <space>:r:<scope>           list of the slots, oldest first; a slot is named by its last millisecond
-- <space>:m:<window>:<scope>  hash: s start of the window, u spent, h held, k set when seeded, d set when it was
--                             and must be compared with the ledger first, a soft budget told, e as above
-- <space>:w:<scope>           set of the windows that the scope has purses for
-- <space>:hold:<id>           what a call holds, or a block for several, packed
-- <space>:leases              sorted set of holds by the time their lease ends
-- <space>:processes           sorted set of processes by the time they were last heard of
-- <space>:done:<process>      number of the last batch of a process that was applied
-- <space>:born                a name this store got when it was empty
-- <space>:doubts              sorted set of purses that may have missed something, by when they are compared with the ledger
-- <space>:doubted             hash: since when these are in doubt
local space = KEYS[1]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local MINUTE, IDLE, HOUR, WEEK = 60000, 600000, 3600000, 604800000

-- Numbers as whole digits: Lua alone would write large ones with an exponent, and a zero with a sign.
local function int(number) return number == 0 and '0' or string.format('%.0f', number) end
local function scope_key(scope) return space .. ':s:' .. scope end
local function slots_key(scope) return space .. ':r:' .. scope end
local function purse_key(scope, window) return space .. ':m:' .. window .. ':' .. scope end
local function windows_key(scope) return space .. ':w:' .. scope end
local function hold_key(id) return space .. ':hold:' .. id end
local leases = space .. ':leases'

-- What is counted for a scope: n, t and p as above, f and l the first and the last slot, e when its life was prolonged.
local function state_of(scope)
  local key = scope_key(scope)
  local found = redis.call('HMGET', key, 'n', 't', 'p', 'f', 'l', 'e')
  for field = 1, 6 do found[field] = found[field] and tonumber(found[field]) end
  return { key = key, slots = slots_key(scope), n = found[1] or 0, t = found[2] or 0, p = found[3] or 0,
    f = found[4] or nil, l = found[5] or 0, e = found[6] or 0 }
end

-- Keeps what is in use. Not at every call: it costs as much as counting.
local function touch(state)
  if now - state.e < IDLE / 10 then return end
  redis.call('HSET', state.key, 'e', int(now))
  redis.call('PEXPIRE', state.key, IDLE)
  redis.call('PEXPIRE', state.slots, IDLE)
end

-- Drops what is older than a minute.
local function forget(state)
  if not state.f or state.f + MINUTE > now then return end
  local slot
  while true do
    slot = redis.call('LINDEX', state.slots, 0)
    if not slot or slot + MINUTE > now then break end
    redis.call('LPOP', state.slots)
    local q, k = 'q' .. slot, 'k' .. slot
    local both = redis.call('HMGET', state.key, q, k)
    state.n, state.t = state.n - (both[1] or 0), state.t - (both[2] or 0)
    redis.call('HDEL', state.key, q, k)
  end
  state.f = slot and tonumber(slot) or nil
  redis.call('HSET', state.key, 'n', int(state.n), 't', int(state.t), 'f', slot or '')
end

-- Counts requests and tokens now, or in a slot that is still to come. Returns the slot they are in. Writes the places, too.
local function count(state, width, requests, tokens, ahead)
  local slot, q, k = ahead or (now - now % width + width - 1), requests, tokens
  if state.f and state.l >= slot then
    slot = state.l
    local both = redis.call('HMGET', state.key, 'q' .. int(slot), 'k' .. int(slot))
    q, k = q + (both[1] or 0), k + (both[2] or 0)
  else
    redis.call('RPUSH', state.slots, int(slot))
    state.f, state.l = state.f or slot, slot
  end
  state.n, state.t = state.n + requests, state.t + tokens
  slot = int(slot)
  redis.call('HSET', state.key, 'n', int(state.n), 't', int(state.t), 'p', int(state.p), 'f', int(state.f),
    'l', slot, 'q' .. slot, int(q), 'k' .. slot, int(k))
  touch(state)
  return slot
end

-- Undoes what was counted in a slot, unless it is forgotten.
local function uncount(scope, slot, requests, tokens)
  local key, q, k = scope_key(scope), 'q' .. slot, 'k' .. slot
  local found = redis.call('HMGET', key, q, k, 'n', 't')
  if not found[1] then return end
  redis.call('HSET', key, q, int(found[1] - requests), k, int(found[2] - tokens),
    'n', int(found[3] - requests), 't', int(found[4] - tokens))
end

-- Brings a purse to the window that starts then, or to a later one it has reached already. A window that follows one
-- that was seeded starts with nothing spent. Returns its key, its start, whether it is seeded, what is used, and
-- whether it was seeded and is in doubt.
local function open(scope, window, start)
  local key = purse_key(scope, window)
  local found = redis.call('HMGET', key, 's', 'k', 'u', 'h', 'e', 'd')
  local reached, used = found[1], (found[3] or 0) + (found[4] or 0)
  if not reached or tonumber(reached) < tonumber(start) then
    redis.call('HSET', key, 's', start, 'u', '0', 'h', '0')
    redis.call('HDEL', key, 'a')
    reached, used = start, 0
  end
  -- A purse nobody needs for a week is seeded again; one whose window is over for so long is of no use.
  if now - (found[5] or 0) > HOUR then
    redis.call('HSET', key, 'e', int(now))
    redis.call('PEXPIRE', key, WEEK)
    redis.call('SADD', windows_key(scope), window)
    redis.call('PEXPIRE', windows_key(scope), WEEK)
  end
  return key, reached, found[2], used, found[6]
end

-- Takes places and holds money, for so many requests.
local function hold(id, lease, requests, tokens, money, places, claims)
  local record = { requests = requests, tokens = tokens, money = money, places = places, claims = {} }
  for _, claim in ipairs(claims) do
    if claim.parallel and not claim.slot then
      local state = state_of(claim.scope)
      redis.call('HINCRBY', state.key, 'p', int(places))
      touch(state)
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

-- Gives places and held money back, and notes how much is left. Money whose window is over is gone with it.
local function lessen(record, places, money)
  for _, claim in ipairs(record.claims) do
    if claim.parallel and places ~= 0 and redis.call('HINCRBY', scope_key(claim.scope), 'p', int(-places)) < 0 then
      redis.call('HSET', scope_key(claim.scope), 'p', 0)
    end
    for _, purse in ipairs(money ~= 0 and claim.purses or {}) do
      local key = purse_key(claim.scope, purse[1])
      if redis.call('HGET', key, 's') == purse[2] then
        if redis.call('HINCRBY', key, 'h', int(-money)) < 0 then redis.call('HSET', key, 'h', 0) end
      end
    end
  end
  record.places, record.money = record.places - places, record.money - money
end

-- Ends a hold.
local function release(id, record)
  lessen(record, record.places, tonumber(record.money))
  redis.call('DEL', hold_key(id))
  redis.call('ZREM', leases, id)
end

local function held(id)
  local packed = redis.call('GET', hold_key(id))
  return packed and cmsgpack.unpack(packed)
end

-- Something that was spent may be missing in a purse: for a day it is compared with the ledger now and then.
local function doubt(scope, window)
  local member = window .. ' ' .. scope
  redis.call('ZADD', space .. ':doubts', 'NX', int(now + 1000), member)
  redis.call('HSET', space .. ':doubted', member, int(now))
  redis.call('PEXPIRE', space .. ':doubts', WEEK)
  redis.call('PEXPIRE', space .. ':doubted', WEEK)
end

-- Ends the holds whose process has not been heard of for the length of a lease. It may have spent what it did not tell.
local function reap()
  for _ = 1, 20 do
    local over = redis.call('ZRANGEBYSCORE', leases, '-inf', int(now), 'LIMIT', 0, 50)
    for _, id in ipairs(over) do
      local record = held(id)
      if record then
        release(id, record)
        for _, claim in ipairs(record.claims) do
          for _, purse in ipairs(claim.purses) do
            local key = purse_key(claim.scope, purse[1])
            if redis.call('HDEL', key, 'k') == 1 then redis.call('HSET', key, 'd', 1) end
            doubt(claim.scope, purse[1])
          end
        end
      else
        redis.call('ZREM', leases, id)
      end
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
