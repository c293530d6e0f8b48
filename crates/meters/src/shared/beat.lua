-- Says that a process is alive. Answers how many are.
local process, age = take(), number()
local processes = space .. ':processes'
redis.call('ZADD', processes, int(now), process)
redis.call('ZREMRANGEBYSCORE', processes, '-inf', int(now - age))
redis.call('PEXPIRE', processes, IDLE)
reap()
return redis.call('ZCARD', processes)
