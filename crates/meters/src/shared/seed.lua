-- Tells what was spent in a window before anybody counted here. Who comes first is believed.
-- With no amount it asks: answers 1 when the window is seeded.
local scope, window, start, spent, soft = take(), take(), take(), take(), number()
local key, reached, seeded = open(scope, window, start)
if seeded or reached ~= start then return 1 end
if spent == '' then return 0 end
local sum = redis.call('HINCRBY', key, 'u', spent)
redis.call('HSET', key, 'k', 1)
-- Whoever counted before has told that the soft budget was reached.
if soft and tonumber(spent) >= soft then redis.call('HSET', key, 'a', int(soft)) end
return 1
