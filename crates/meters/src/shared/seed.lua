-- Tells what was spent in a window before anybody counted here. Who comes first is believed.
-- With no amount it asks: answers 0 when the window is not seeded, 1 when it is, 2 when it was and has missed something.
local scope, window, start, spent, soft = take(), take(), take(), take(), number()
local key, reached, seeded, _, doubted = open(scope, window, start)
if seeded or reached ~= start then return 1 end
if spent == '' then return doubted and 2 or 0 end
if doubted then
  -- What is counted here and not shipped yet is more than the ledger knows.
  if tonumber(redis.call('HGET', key, 'u') or 0) < tonumber(spent) then redis.call('HSET', key, 'u', spent) end
  redis.call('HDEL', key, 'd')
else
  redis.call('HINCRBY', key, 'u', spent)
end
redis.call('HSET', key, 'k', 1)
-- Whoever counted before has told that the soft budget was reached.
if soft and tonumber(spent) >= soft then redis.call('HSET', key, 'a', int(soft)) end
return 1
