-- Own keys: record of a batch. ARGV: its caller, its id, its end as it was seen (empty: it had none). There is nothing more to
-- tell of that end; another one that has come meanwhile is still owed.
local BATCH = KEYS[SHARED + 1]
local caller, batch, ended = unpack(ARGV)
if (redis.call('HGET', BATCH, 'ended') or '') == ended then
  settle(caller, batch)
  redis.call('HDEL', BATCH, 'webhook_tries')
end
