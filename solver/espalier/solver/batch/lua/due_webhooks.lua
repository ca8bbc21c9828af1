-- KEYS: webhooks. ARGV: seconds until others may try, how many at most. Returns ids of batches whose webhook is due;
-- they are this caller's for so long.
local WEBHOOKS = KEYS[1]
local time = redis.call('TIME')
local due = redis.call('ZRANGEBYSCORE', WEBHOOKS, '-inf', time[1], 'LIMIT', 0, ARGV[2])
for _, batch in ipairs(due) do
  redis.call('ZADD', WEBHOOKS, time[1] + ARGV[1], batch)
end
return due
