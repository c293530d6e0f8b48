-- Says that a process is alive. Answers how many are, the name of this store, and purses that are to be compared with the
-- ledger now: {processes, name, scope, window, start, …}.
local process, age, name = take(), number(), take()
local processes, born = space .. ':processes', space .. ':born'
redis.call('ZADD', processes, int(now), process)
redis.call('ZREMRANGEBYSCORE', processes, '-inf', int(now - age))
redis.call('PEXPIRE', processes, IDLE)
reap()
redis.call('SET', born, name, 'NX')
redis.call('PEXPIRE', born, WEEK)
local answer = { int(redis.call('ZCARD', processes)), redis.call('GET', born) }
local doubts, doubted = space .. ':doubts', space .. ':doubted'
for _, member in ipairs(redis.call('ZRANGEBYSCORE', doubts, '-inf', int(now), 'LIMIT', 0, 16)) do
  local since = now - (redis.call('HGET', doubted, member) or 0)
  if since > 24 * HOUR then
    redis.call('ZREM', doubts, member)
    redis.call('HDEL', doubted, member)
  else
    -- Often at first; the journal of a process that died may be read much later.
    redis.call('ZADD', doubts, int(now + math.min(math.max(since / 4, 1000), HOUR / 12)), member)
    local window, scope = member:match('^(%S+) (.*)$')
    local start = window and redis.call('HGET', purse_key(scope, window), 's')
    if start then
      for _, item in ipairs({ scope, window, start }) do answer[#answer + 1] = item end
    end
  end
end
return answer
