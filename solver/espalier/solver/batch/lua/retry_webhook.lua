-- Own keys: record of a batch. ARGV: its caller, its id, its end that could not be told, then the seconds until the next try,
-- after each that failed. Returns how often this end was tried; 0 where the batch has gone on.
local BATCH = KEYS[SHARED + 1]
local caller, batch, ended = unpack(ARGV, 1, 3)
if redis.call('HGET', BATCH, 'ended') ~= ended then
  return 0
end
local tries = redis.call('HINCRBY', BATCH, 'webhook_tries', 1)
local delay = ARGV[3 + tries]
if delay and redis.call('ZSCORE', owed_by(caller), batch) then
  owe(caller, batch, now() + delay)
end
return tries
