-- Stands before every script: the keys of the queue, as in keys.py, Keys.shared; a script's own follow. The constants
-- of scripts.py stand before this text. A queue in another format is neither read nor written while there is
-- anything in it.
local FORMAT_KEY, JOBS, WAITING, TURNS, OPEN, DEAD, INDEX, BATCHES, EXPIRY, WEBHOOKS, FILES, SIZES, STORED, BATCH_PREFIX,
  JOB_PREFIX, FILE_PREFIX = unpack(KEYS, 1, 16)
local SHARED = 16
local format = redis.call('GET', FORMAT_KEY)
if format ~= FORMAT then
  if format and redis.call('EXISTS', INDEX, BATCHES, FILES) > 0 then
    return redis.error_reply(OTHER_FORMAT .. ' ' .. format)
  end
  redis.call('SET', FORMAT_KEY, FORMAT)
end

local function now()
  local time = redis.call('TIME')
  return string.format('%d.%06d', time[1], time[2])
end
