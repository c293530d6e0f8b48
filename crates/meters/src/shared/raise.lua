-- The ledger knows of so much that was spent in a window: a purse that has less has missed something.
local scope, window, start, spent = take(), take(), take(), take()
local key = purse_key(scope, window)
local found = redis.call('HMGET', key, 's', 'k', 'u')
if found[1] ~= start or not found[2] or tonumber(found[3] or 0) >= tonumber(spent) then return 0 end
redis.call('HSET', key, 'u', spent)
return 1
