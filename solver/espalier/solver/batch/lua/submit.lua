-- KEYS: jobs, batch, index, batches, then for each job: its hash, its events.
-- ARGV: id of the batch, time, cap of the events, number of fields of the batch's record, their names and values (the
-- first is the digest of the request), then for each job: its id, its message.
-- Returns 1 when the jobs are new, 0 when the same request came before, -1 when the key belongs to another request.
local JOBS, BATCH, INDEX, BATCHES = unpack(KEYS, 1, 4)
local batch, time, cap, fields = unpack(ARGV, 1, 4)
local record = {unpack(ARGV, 5, 4 + 2 * fields)}

local known = redis.call('HGET', BATCH, 'digest')
if known then
  return known == record[2] and 0 or -1
end
local count = (#KEYS - 4) / 2
redis.call('HSET', BATCH, 'submitted', time, 'count', count, QUEUED, count, unpack(record))
redis.call('ZADD', BATCHES, time, batch)
local last = redis.call('ZREVRANGE', INDEX, 0, 0, 'WITHSCORES')
local number, behind = tonumber(last[2] or 0), 4 + 2 * fields
for i = 1, count do
  local id, message = ARGV[behind + 2 * i - 1], ARGV[behind + 2 * i]
  local job, events = KEYS[3 + 2 * i], KEYS[4 + 2 * i]
  redis.call('DEL', job, events) -- of a batch whose record was lost
  local entry = redis.call('XADD', JOBS, '*', 'id', id)
  redis.call('HSET', job, 'job', message, 'state', QUEUED, 'submitted', time, 'entry', entry)
  redis.call('XADD', events, 'MAXLEN', '~', cap, '*', 'state', QUEUED, 'submitted', time)
  redis.call('ZADD', INDEX, number + i, id)
end
return 1
