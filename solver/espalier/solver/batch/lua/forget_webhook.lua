-- KEYS: webhooks, record of a batch. ARGV: id of the batch, its end as it was seen (empty: it had none). There is nothing
-- more to tell of that end; another one that has come meanwhile is still owed.
local WEBHOOKS, BATCH = unpack(KEYS)
local batch, ended = unpack(ARGV)
if (redis.call('HGET', BATCH, 'ended') or '') == ended then
  redis.call('ZREM', WEBHOOKS, batch)
  redis.call('HDEL', BATCH, 'webhook_tries')
end
