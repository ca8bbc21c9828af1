-- Bytes that callers have stored: SIZES has those of each job, batch and file, and STORED the sum of each caller. Sizes are
-- worked out anew from what Redis holds, so that no sum drifts; they are given back when what they stand for is forgotten.
-- What Redis takes beside the texts, about: a record with its places in the indices; a job also has a stream, 4 KiB or more.
local RECORD, JOB_RECORD = 1024, 5 * 1024
local BATCH_TEXTS = {'key', 'caller', 'webhook', 'input_file', 'metadata'}

local function files_of(caller)
  return FILES .. ':' .. caller
end

-- A caller has so many bytes more.
local function charge(caller, change)
  if redis.call('HINCRBY', STORED, caller, change) <= 0 then
    redis.call('HDEL', STORED, caller)
  end
end

-- Note what something takes; 0: it is gone. Returns its caller, and how many bytes that are more.
local function note_size(id, caller, bytes)
  local known = redis.call('HGET', SIZES, id)
  local before = 0
  if known then
    before, caller = string.match(known, '^(%d+) (.*)$')
  end
  if bytes > 0 then
    redis.call('HSET', SIZES, id, string.format('%d %s', bytes, caller))
  elseif known then
    redis.call('HDEL', SIZES, id)
  end
  return caller, bytes - before
end

local function set_size(id, caller, bytes)
  local owner, change = note_size(id, caller, bytes)
  if change ~= 0 then
    charge(owner, change)
  end
  return owner
end

-- Take what Redis has forgotten out of the indices, and its bytes from its callers, a few at a time. Returns how many.
local function forget(count)
  local old = redis.call('ZRANGEBYSCORE', EXPIRY, '-inf', now(), 'LIMIT', 0, count)
  for _, id in ipairs(old) do
    redis.call('ZREM', EXPIRY, id)
    redis.call('ZREM', INDEX, id)
    redis.call('ZREM', BATCHES, id)
    local owner = set_size(id, '', 0)
    if redis.call('ZREM', FILES, id) == 1 then
      redis.call('ZREM', files_of(owner), id)
    end
  end
  return #old
end

-- What a job takes: its message and result, its candidates, the events of its solve, and all but these again where it
-- is among the dead.
local function size_of_job(job, journal)
  local told, caller, dead = unpack(redis.call('HMGET', job, 'told', 'caller', 'dead_entry'))
  local kept = redis.call('HSTRLEN', job, 'job')
  for _, number in ipairs(redis.call('HKEYS', journal)) do
    kept = kept + redis.call('HSTRLEN', journal, number)
  end
  local once = JOB_RECORD + redis.call('HSTRLEN', job, 'result') + (told or 0)
  return once + kept * (dead and 2 or 1), caller or ''
end

local function size_of_batch(batch)
  local bytes = RECORD
  for _, name in ipairs(BATCH_TEXTS) do
    bytes = bytes + redis.call('HSTRLEN', batch, name)
  end
  return bytes
end
