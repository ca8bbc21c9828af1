-- KEYS: batches, prefix of batches, open jobs. Counts the open jobs of each caller anew.
local BATCHES, BATCH_PREFIX, OPEN = unpack(KEYS)
redis.call('DEL', OPEN)
for _, batch in ipairs(redis.call('ZRANGE', BATCHES, 0, -1)) do
  local caller, queued, running = unpack(redis.call('HMGET', BATCH_PREFIX .. batch, 'caller', QUEUED, RUNNING))
  local jobs = tonumber(queued or 0) + tonumber(running or 0)
  if caller and jobs > 0 then
    redis.call('HINCRBY', OPEN, caller, jobs)
  end
end
