-- Own keys: those of the first job of a batch. ARGV: id of the batch, its jobs as far as they are known, cap of the events,
-- seconds to keep a batch that has ended. Brings back what can be told from the hashes of the jobs: entries of the
-- streams, places in line, the indices, the record of the batch. Returns how many jobs are queued again, and how many
-- are dead again.
local batch, known, cap, keep = unpack(ARGV)
local first = batch .. '-0'
if redis.call('HEXISTS', BATCH, 'count') == 0 then
  redis.call('DEL', BATCH)
  redis.call('HSET', BATCH, 'count', known, 'key', batch, 'digest', '', 'submitted', now())
  each_of_batch(first, function(_, hash)
    local caller = redis.call('HGET', hash, 'caller')
    if caller and caller ~= '' then
      redis.call('HSET', BATCH, 'caller', caller)
    end
  end)
end
local function gone_from(stream, entry)
  return not entry or #redis.call('XRANGE', stream, entry, entry) == 0
end
local caller = caller_of_batch()
local has_turn = redis.call('ZSCORE', turns_of(caller), batch) and redis.call('ZSCORE', TURNS, caller)
  and redis.call('HEXISTS', BATCH, 'first') == 1
local first_job, first_events, journals = JOB, EVENTS, string.sub(JOURNAL, 1, -#first - 1)
local counts = {[QUEUED] = 0, [RUNNING] = 0, [DONE] = 0, [CANCELLED] = 0, [DEAD_LETTER] = 0}
local last = redis.call('ZREVRANGE', INDEX, 0, 0, 'WITHSCORES')
local number, queued, dead = tonumber(last[2] or 0), 0, 0
each_of_batch(first, function(id, hash, events)
  JOB, EVENTS, JOURNAL = hash, events, journals .. id
  local state, entry, dead_entry, reason = unpack(redis.call('HMGET', JOB, 'state', 'entry', 'dead_entry', 'reason'))
  if not state or redis.call('HSTRLEN', JOB, 'job') == 0 then
    redis.call('ZREM', INDEX, id)
    redis.call('ZREM', WAITING, id)
    set_size(id, '', 0)
    return
  end
  if (state == QUEUED or state == RUNNING) and gone_from(JOBS, entry)
    and not (has_turn and redis.call('ZSCORE', WAITING, id)) then
    redis.call('HDEL', JOB, 'entry')
    redis.call('HSET', JOB, 'attempts', 0, 'state', QUEUED)
    announce(cap)
    wait_for_turn(id)
    state, queued = QUEUED, queued + 1
  elseif state == DEAD_LETTER and gone_from(DEAD, dead_entry) then
    dead_letter(id, reason or '', '')
    dead = dead + 1
  end
  counts[state] = counts[state] + 1
  if not redis.call('ZSCORE', INDEX, id) then
    number = number + 1
    redis.call('ZADD', INDEX, number, id)
  end
  if redis.call('EXISTS', EVENTS) == 0 then
    redis.call('HDEL', JOB, 'told')
  end
  weigh()
end)
set_size(batch, caller, size_of_batch(BATCH))
for state, count in pairs(counts) do
  -- A job that has ended may be forgotten by now, and has ended all the same.
  local ended = state == DONE or state == CANCELLED
  redis.call('HSET', BATCH, state, math.max(count, ended and tonumber(redis.call('HGET', BATCH, state) or 0) or 0))
end
redis.call('ZADD', BATCHES, 'NX', redis.call('HGET', BATCH, 'submitted') or now(), batch)
JOB, EVENTS = first_job, first_events
if redis.call('TTL', BATCH) < 0 and count_of_batch(QUEUED, RUNNING) == 0 then
  expire_batch(first, keep, true)
end
wake()
return {queued, dead}
