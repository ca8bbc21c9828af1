-- What the scripts of a job share. KEYS are those of keys.py, Keys.of. GROUP and the job states stand before this text.
local JOBS, JOB, JOURNAL, EVENTS, BATCH, INDEX, EXPIRY, DEAD = unpack(KEYS)
local STATUS = {'state', 'submitted', 'started', 'finished', 'attempts', 'candidates', 'reason'}

local function now()
  local time = redis.call('TIME')
  return string.format('%d.%06d', time[1], time[2])
end

-- The fence: whether this delivery of an entry to this consumer is the one that counts. A reclaim changes either.
local function holds(entry, consumer, deliveries)
  local pending = redis.pcall('XPENDING', JOBS, GROUP, entry, entry, 1)
  return not pending.err and pending[1] ~= nil and pending[1][2] == consumer
    and pending[1][4] == tonumber(deliveries)
end

local function announce(cap)
  local values, fields = redis.call('HMGET', JOB, unpack(STATUS)), {}
  for number, name in ipairs(STATUS) do
    if values[number] then
      fields[#fields + 1] = name
      fields[#fields + 1] = values[number]
    end
  end
  redis.call('XADD', EVENTS, 'MAXLEN', '~', cap, '*', unpack(fields))
end

local function move(to)
  local from = redis.call('HGET', JOB, 'state')
  if from ~= to then
    redis.call('HINCRBY', BATCH, from, -1)
    redis.call('HINCRBY', BATCH, to, 1)
    redis.call('HSET', JOB, 'state', to)
  end
end

local function leave_queue(entry)
  redis.call('XACK', JOBS, GROUP, entry)
  redis.call('XDEL', JOBS, entry)
end

-- The job has ended for good: it is kept for so many seconds, its batch as long as the last of its jobs.
local function close(job, state, keep, cap)
  local time = now()
  move(state)
  redis.call('HSET', JOB, 'finished', time)
  announce(cap)
  redis.call('DEL', JOURNAL)
  redis.call('EXPIRE', JOB, keep)
  redis.call('EXPIRE', EVENTS, keep)
  if redis.call('HINCRBY', BATCH, 'open', -1) == 0 then
    redis.call('EXPIRE', BATCH, keep)
  end
  for _, old in ipairs(redis.call('ZRANGEBYSCORE', EXPIRY, '-inf', time, 'LIMIT', 0, 10)) do
    redis.call('ZREM', EXPIRY, old)
    redis.call('ZREM', INDEX, old)
  end
  redis.call('ZADD', EXPIRY, time + keep, job)
end
