-- KEYS: jobs, waiting, turns, prefixes of batches and jobs, batch, index, batches, open jobs, then for each
-- job: its hash, its events.
-- ARGV: id of the batch, time, cap of the events, caller, priority, jobs that the caller may have in the queue (empty:
-- any), number of fields of the batch's record, their names and values (the first is the digest of the request), then
-- for each job: its id, its message.
-- Returns 1 when the jobs are new, 0 when the same request came before, -1 when the key belongs to another request, and
-- -2 when the caller would have too many jobs; and how many it has.
local BATCH, INDEX, BATCHES, OPEN = unpack(KEYS, 6, 9)
local batch, time, cap, caller, priority, most, fields = unpack(ARGV, 1, 7)
local record = {unpack(ARGV, 8, 7 + 2 * fields)}

local known = redis.call('HGET', BATCH, 'digest')
if known then
  return {known == record[2] and 0 or -1, 0}
end
local count, open = (#KEYS - 9) / 2, tonumber(redis.call('HGET', OPEN, caller) or 0)
if most ~= '' and open + count > tonumber(most) then
  return {-2, open}
end
if caller ~= '' then
  redis.call('HINCRBY', OPEN, caller, count)
end
local first, behind = next_number(INDEX), 7 + 2 * fields
redis.call('HSET', BATCH, 'submitted', time, 'count', count, 'first', first, QUEUED, count, unpack(record))
redis.call('ZADD', BATCHES, time, batch)
for i = 1, count do
  local id, message = ARGV[behind + 2 * i - 1], ARGV[behind + 2 * i]
  local job, events = KEYS[8 + 2 * i], KEYS[9 + 2 * i]
  redis.call('DEL', job, events) -- of a batch whose record was lost
  redis.call('HSET', job, 'job', message, 'state', QUEUED, 'submitted', time, 'caller', caller)
  redis.call('XADD', events, 'MAXLEN', '~', cap, '*', 'state', QUEUED, 'submitted', time)
  redis.call('ZADD', INDEX, first + i - 1, id)
  redis.call('ZADD', WAITING, first + i - 1, id)
end
take_part(batch, caller, priority)
wake()
return {1, open}
