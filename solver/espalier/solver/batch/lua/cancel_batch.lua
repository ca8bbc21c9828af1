-- KEYS: record of a batch. Notes that it is cancelled as a whole, unless it has ended, or is gone.
local BATCH = KEYS[1]
if redis.call('HEXISTS', BATCH, 'count') == 1 and redis.call('HEXISTS', BATCH, 'ended') == 0 then
  local time = redis.call('TIME')
  redis.call('HSET', BATCH, 'cancelled', string.format('%d.%06d', time[1], time[2]))
end
