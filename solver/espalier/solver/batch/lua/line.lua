-- The job waits for its turn, at its place in its batch. A batch whose place was lost gets a new one.
local function wait_for_turn(job)
  local batch, number = string.match(job, '^(.*)%-(%d+)$')
  local caller, priority, first = unpack(redis.call('HMGET', BATCH, 'caller', 'priority', 'first'))
  if not first then
    first = next_number()
    redis.call('HSET', BATCH, 'first', first)
  end
  redis.call('ZADD', WAITING, first + number, job)
  take_part(batch, caller or '', priority or 0)
end

-- The job is delivered no more, whether a worker had it or not.
local function leave_queue_or_line(job)
  local entry = redis.call('HGET', JOB, 'entry')
  if entry then
    leave_queue(entry)
  else
    redis.call('ZREM', WAITING, job)
  end
end
