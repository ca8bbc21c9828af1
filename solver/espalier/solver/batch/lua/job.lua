-- What the scripts of a job share. Their own keys are those of keys.py, Keys.of.
local JOB, JOURNAL, EVENTS, BATCH = unpack(KEYS, SHARED + 1, SHARED + 4)
local STATUS = {'state', 'submitted', 'started', 'finished', 'attempts', 'candidates', 'reason'}

-- The fence: whether this delivery of an entry to this consumer is the one that counts. A reclaim changes either.
local function holds(entry, consumer, deliveries)
  local pending = redis.pcall('XPENDING', JOBS, GROUP, entry, entry, 1)
  return not pending.err and pending[1] ~= nil and pending[1][2] == consumer
    and pending[1][4] == tonumber(deliveries)
end

-- Work out anew what the job takes.
local function weigh()
  local bytes, caller = size_of_job(JOB, JOURNAL)
  set_size(string.sub(JOB, #JOB_PREFIX + 1), caller, bytes)
end

-- Add to the events of the job, and drop the oldest above the cap. The hash knows the bytes of those of its solve.
local function add_event(cap, ...)
  redis.call('XADD', EVENTS, '*', ...)
  local over = redis.call('XLEN', EVENTS) - cap
  if over > 0 then
    for _, entry in ipairs(redis.call('XRANGE', EVENTS, '-', '+', 'COUNT', over)) do
      if entry[2][1] == 'solve' then
        redis.call('HINCRBY', JOB, 'told', 0 - #entry[2][2]) -- Lua writes the negative of 0 as -0
      end
    end
    redis.call('XTRIM', EVENTS, 'MAXLEN', cap)
    weigh()
  end
end

local function announce(cap)
  local values, fields = redis.call('HMGET', JOB, unpack(STATUS)), {}
  for number, name in ipairs(STATUS) do
    if values[number] then
      fields[#fields + 1] = name
      fields[#fields + 1] = values[number]
    end
  end
  add_event(cap, unpack(fields))
end

local function is_open(state)
  return state == QUEUED or state == RUNNING
end

-- One job more of its caller has not ended, or one less. Callers without a name are not counted.
local function count_open(change)
  local caller = redis.call('HGET', JOB, 'caller')
  if caller and caller ~= '' and redis.call('HINCRBY', OPEN, caller, change) <= 0 then
    redis.call('HDEL', OPEN, caller)
  end
end

local function move(to)
  local from = redis.call('HGET', JOB, 'state')
  if from ~= to then
    if is_open(from) ~= is_open(to) then
      count_open(is_open(to) and 1 or -1)
    end
    if redis.call('EXISTS', BATCH) == 1 then
      redis.call('HINCRBY', BATCH, from, -1)
      redis.call('HINCRBY', BATCH, to, 1)
    end
    redis.call('HSET', JOB, 'state', to)
  end
end

-- Put the job into the dead-letter stream with everything that is known of it: message, reason, last error, and the
-- journal as the trace so far.
local function dead_letter(job, reason, trouble)
  local known = redis.call('HMGET', JOB, 'job', 'attempts')
  local fields = {'id', job, 'job', known[1] or '', 'reason', reason, 'error', trouble, 'attempts', known[2] or 0}
  local journal = redis.call('HGETALL', JOURNAL)
  for i = 1, #journal, 2 do
    fields[#fields + 1] = 'candidate:' .. journal[i]
    fields[#fields + 1] = journal[i + 1]
  end
  redis.call('HSET', JOB, 'dead_entry', redis.call('XADD', DEAD, '*', unpack(fields)), 'reason', reason)
  weigh()
end

local function leave_queue(entry)
  redis.call('XACK', JOBS, GROUP, entry)
  redis.call('XDEL', JOBS, entry)
end

local function batch_of(job)
  return string.match(job, '^(.*)%-')
end

-- Call `visit` with the id, the hash and the events of each job of this job's batch. All keys of a queue share a slot.
local function each_of_batch(job, visit)
  local batch = batch_of(job)
  local jobs, events = string.sub(JOB, 1, -#job - 1), string.sub(EVENTS, 1, -#job - 1)
  for number = 0, tonumber(redis.call('HGET', BATCH, 'count') or 0) - 1 do
    local id = string.format('%s-%d', batch, number)
    visit(id, jobs .. id, events .. id)
  end
end

local function forget_later(keep, id, hash, events)
  redis.call('EXPIRE', hash, keep)
  redis.call('EXPIRE', events, keep)
  redis.call('ZADD', EXPIRY, now() + keep, id)
end

local function caller_of_batch()
  return redis.call('HGET', BATCH, 'caller') or ''
end

-- Jobs of the batch in one of these states; nothing when its record is lost.
local function count_of_batch(...)
  local sum = 0
  for number, count in ipairs(redis.call('HMGET', BATCH, 'count', ...)) do
    if number == 1 and not count then
      return nil
    end
    sum = sum + (number > 1 and tonumber(count or 0) or 0)
  end
  return sum
end

-- A batch whose last job has ended is kept for so many seconds, all its jobs together. Dead jobs, and the record of a
-- batch that has any, stay until they are queued again or cancelled. `was_open`: whether this job ended just now.
local function expire_batch(job, keep, was_open)
  local open = count_of_batch(QUEUED, RUNNING)
  if open and open > 0 then
    return
  end
  local dead = count_of_batch(DEAD_LETTER) or 0
  if not (open and was_open) then
    forget_later(keep, job, JOB, EVENTS)
  else
    each_of_batch(job, function(id, hash, events)
      if dead == 0 or redis.call('HGET', hash, 'state') ~= DEAD_LETTER then
        forget_later(keep, id, hash, events)
      end
    end)
  end
  if open and was_open then
    redis.call('HSET', BATCH, 'ended', now())
    if redis.call('HEXISTS', BATCH, 'webhook') == 1 then
      owe(caller_of_batch(), batch_of(job), now())
    end
  end
  if dead == 0 then
    redis.call('EXPIRE', BATCH, keep)
    redis.call('ZADD', EXPIRY, now() + keep, batch_of(job))
  end
end

-- A batch that had ended goes on: nothing of it is forgotten before it has ended again.
local function persist_batch(job)
  if count_of_batch(QUEUED, RUNNING) ~= 0 then
    return
  end
  redis.call('PERSIST', BATCH)
  redis.call('HDEL', BATCH, 'ended', 'cancelled', 'webhook_tries')
  settle(caller_of_batch(), batch_of(job))
  redis.call('ZREM', EXPIRY, batch_of(job))
  each_of_batch(job, function(id, hash, events)
    redis.call('PERSIST', hash)
    redis.call('PERSIST', events)
    redis.call('ZREM', EXPIRY, id)
  end)
end

-- The job has ended for good.
local function close(job, state, keep, cap)
  local was_open = redis.call('HGET', JOB, 'state') ~= DEAD_LETTER
  move(state)
  redis.call('HSET', JOB, 'finished', now())
  announce(cap)
  redis.call('DEL', JOURNAL)
  weigh()
  forget(100)
  expire_batch(job, keep, was_open)
end
