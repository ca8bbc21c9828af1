-- Own keys: batch, then for each job: its hash, its events.
-- ARGV: id of the batch, time, caller, priority, jobs that the caller may have in the queue and bytes
-- that it may have (empty: any), number of fields of the batch's record, their names and values (the first is the digest of
-- the request), then for each job: its id, its message.
-- Returns 1 when the jobs are new, 0 when the same request came before, -1 when the key belongs to another request, -2
-- when the caller would have too many jobs and -3 when it would have too many bytes; and how many it has.
local BATCH = KEYS[SHARED + 1]
local batch, time, caller, priority, most, most_bytes, fields = unpack(ARGV, 1, 7)
local record = {unpack(ARGV, 8, 7 + 2 * fields)}

local known = redis.call('HGET', BATCH, 'digest')
if known then
  return {known == record[2] and 0 or -1, 0}
end
local count, behind = (#KEYS - SHARED - 1) / 2, 7 + 2 * fields
local open = tonumber(redis.call('HGET', OPEN, caller) or 0)
if most ~= '' and open + count > tonumber(most) then
  return {-2, open}
end
local stored, bytes = tonumber(redis.call('HGET', STORED, caller) or 0), RECORD + count * JOB_RECORD
for i = 2, #record, 2 do
  bytes = bytes + #record[i]
end
for i = 1, count do
  bytes = bytes + #ARGV[behind + 2 * i]
end
if most_bytes ~= '' and stored + bytes > tonumber(most_bytes) then
  return {-3, stored}
end
if caller ~= '' then
  redis.call('HINCRBY', OPEN, caller, count)
end
local first = next_number()
redis.call('HSET', BATCH, 'submitted', time, 'count', count, 'first', first, QUEUED, count, unpack(record))
redis.call('ZADD', BATCHES, time, batch)
redis.call('ZREM', EXPIRY, batch) -- of a batch of the same key that Redis forgot and we did not yet
local _, more = note_size(batch, caller, size_of_batch(BATCH))
for i = 1, count do
  local id, message = ARGV[behind + 2 * i - 1], ARGV[behind + 2 * i]
  local job, events = KEYS[SHARED + 2 * i], KEYS[SHARED + 1 + 2 * i]
  redis.call('DEL', job, events) -- of a batch whose record was lost
  redis.call('ZREM', EXPIRY, id)
  redis.call('HSET', job, 'job', message, 'state', QUEUED, 'submitted', time, 'caller', caller)
  redis.call('XADD', events, '*', 'state', QUEUED, 'submitted', time)
  redis.call('ZADD', INDEX, first + i - 1, id)
  redis.call('ZADD', WAITING, first + i - 1, id)
  local _, change = note_size(id, caller, JOB_RECORD + #message)
  more = more + change
end
charge(caller, more)
take_part(batch, caller, priority)
wake()
return {1, open}
