-- ARGV: consumer, milliseconds after which a lease has expired, how many at most.
-- Returns for each expired lease that is taken over: entry, job id, deliveries so far, this one included.
local consumer, idle, count = unpack(ARGV)
-- A sign of life: Redis before 7.2 takes an empty read for news as none. Nothing lies behind the greatest id.
redis.call('XREADGROUP', 'GROUP', GROUP, consumer, 'COUNT', 1, 'STREAMS', JOBS, '18446744073709551615-0')
local taken = {}
for _, pending in ipairs(redis.call('XPENDING', JOBS, GROUP, 'IDLE', idle, '-', '+', count)) do
  local entry = redis.call('XCLAIM', JOBS, GROUP, consumer, idle, pending[1])[1]
  if entry then
    taken[#taken + 1] = {entry[1], entry[2][2], pending[4] + 1}
  end
end
return taken
