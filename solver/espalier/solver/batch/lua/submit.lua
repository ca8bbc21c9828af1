-- KEYS: jobs, batch, index, batches, then for each job: its hash, its events.
-- ARGV: digest of the request, id of the batch, client key, time, cap of the events, then for each job: its id, its
-- message.
-- Returns 1 when the jobs are new, 0 when the same request came before, -1 when the key belongs to another request.
local JOBS, BATCH, INDEX, BATCHES = unpack(KEYS, 1, 4)
local digest, batch, key, time, cap = unpack(ARGV, 1, 5)

local known = redis.call('HGET', BATCH, 'digest')
if known then
  return known == digest and 0 or -1
end
local count = (#KEYS - 4) / 2
redis.call('HSET', BATCH, 'digest', digest, 'key', key, 'submitted', time, 'count', count, QUEUED, count)
redis.call('ZADD', BATCHES, time, batch)
local last = redis.call('ZREVRANGE', INDEX, 0, 0, 'WITHSCORES')
local number = tonumber(last[2] or 0)
for i = 1, count do
  local id, job, events = ARGV[4 + 2 * i], KEYS[3 + 2 * i], KEYS[4 + 2 * i]
  redis.call('DEL', job, events) -- of a batch whose record was lost
  local entry = redis.call('XADD', JOBS, '*', 'id', id)
  redis.call('HSET', job, 'job', ARGV[5 + 2 * i], 'state', QUEUED, 'submitted', time, 'entry', entry)
  redis.call('XADD', events, 'MAXLEN', '~', cap, '*', 'state', QUEUED, 'submitted', time)
  redis.call('ZADD', INDEX, number + i, id)
end
return 1
