-- KEYS: webhooks, record of a batch. ARGV: id of the batch, its end that could not be told, then the seconds until the
-- next try, after each that failed. Returns how often this end was tried; 0 where the batch has gone on.
local WEBHOOKS, BATCH = unpack(KEYS)
local batch, ended = unpack(ARGV)
if redis.call('HGET', BATCH, 'ended') ~= ended then
  return 0
end
local tries = redis.call('HINCRBY', BATCH, 'webhook_tries', 1)
local delay = ARGV[2 + tries]
if delay then
  redis.call('ZADD', WEBHOOKS, 'XX', redis.call('TIME')[1] + delay, batch)
end
return tries
