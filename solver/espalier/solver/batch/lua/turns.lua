-- Jobs that wait, and whose turn it is. A job waits in WAITING, scored by its number: those of a batch are
-- neighbours, from the `first` of its record on. TURNS has the callers of batches with waiting jobs, and TURNS:caller
-- the batches, both scored by the turn in which they were served last; priority comes before turns. Serving one job
-- costs O(log n) of callers, batches and jobs.
local PRIORITY = 1e12 -- more turns than there will ever be

-- The number of the next job: behind all that are indexed, and all that wait should the index be lost.
local function next_number()
  local indexed = redis.call('ZREVRANGE', INDEX, 0, 0, 'WITHSCORES')[2]
  local waiting = redis.call('ZREVRANGE', WAITING, 0, 0, 'WITHSCORES')[2]
  return math.max(tonumber(indexed or 0), tonumber(waiting or 0)) + 1
end

local function turns_of(caller)
  return TURNS .. ':' .. caller
end

local function last_turn()
  return tonumber(redis.call('ZREVRANGE', TURNS, 0, 0, 'WITHSCORES')[2] or 0)
end

-- Let a batch take turns with the others of its caller, and its caller with others. Newcomers come behind all that were
-- served so far, and before what is served from now on; who takes part already keeps its place.
local function take_part(batch, caller, priority)
  local turn = last_turn() + 0.5
  redis.call('ZADD', turns_of(caller), 'NX', turn - priority * PRIORITY, batch)
  redis.call('ZADD', TURNS, 'NX', turn, caller)
end

-- Put the next job into the stream: of the caller that was served longest ago, and of its batches with the highest
-- priority the one that was served longest ago. Returns whether there was one.
local function feed()
  while true do
    local caller = redis.call('ZRANGE', TURNS, 0, 0)[1]
    if not caller then
      return false
    end
    local batch = redis.call('ZRANGE', turns_of(caller), 0, 0)[1]
    if not batch then
      redis.call('ZREM', TURNS, caller)
    else
      local first, count, priority = unpack(redis.call('HMGET', BATCH_PREFIX .. batch, 'first', 'count', 'priority'))
      local job = first and count
        and redis.call('ZRANGEBYSCORE', WAITING, first, first + count - 1, 'LIMIT', 0, 1)[1]
      if not job then
        redis.call('ZREM', turns_of(caller), batch)
      else
        local turn = last_turn() + 1
        redis.call('ZADD', turns_of(caller), turn - (priority or 0) * PRIORITY, batch)
        redis.call('ZADD', TURNS, turn, caller)
        redis.call('ZREM', WAITING, job)
        if redis.call('EXISTS', JOB_PREFIX .. job) == 1 then
          redis.call('HSET', JOB_PREFIX .. job, 'entry', redis.call('XADD', JOBS, '*', 'id', job))
          return true
        end
      end
    end
  end
end

-- Idle workers wait for an entry of the stream: as long as a job waits there is one that was not delivered yet.
local function wake()
  local last = redis.call('XREVRANGE', JOBS, '+', '-', 'COUNT', 1)[1]
  if last then
    local held = redis.pcall('XPENDING', JOBS, GROUP, last[1], last[1], 1)
    if held.err or not held[1] then
      return
    end
  end
  feed()
end
