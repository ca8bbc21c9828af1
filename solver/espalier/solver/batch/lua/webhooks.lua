-- Webhooks that are still owed: WEBHOOKS has their callers, and WEBHOOKS:caller the ids of their batches, both by the time of
-- the next try. A caller with many of them, or with slow receivers, is one among others.
local function owed_by(caller)
  return WEBHOOKS .. ':' .. caller
end

local function note_next_try(caller)
  local first = redis.call('ZRANGE', owed_by(caller), 0, 0, 'WITHSCORES')
  if first[1] then
    redis.call('ZADD', WEBHOOKS, first[2], caller)
  else
    redis.call('ZREM', WEBHOOKS, caller)
  end
end

-- A webhook is to be told at a time.
local function owe(caller, batch, time)
  redis.call('ZADD', owed_by(caller), time, batch)
  note_next_try(caller)
end

-- There is nothing to tell any more.
local function settle(caller, batch)
  redis.call('ZREM', owed_by(caller), batch)
  note_next_try(caller)
end
