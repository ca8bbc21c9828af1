-- ARGV: entry, consumer, deliveries, cap of the events, deliveries that count, milliseconds that the lease looks old,
-- trouble. Returns whether the lease was held.
local entry, consumer, deliveries, cap, counted, idle, trouble = unpack(ARGV)
if not holds(entry, consumer, deliveries) then
  return 0
end
redis.call('XCLAIM', JOBS, GROUP, consumer, 0, entry, 'IDLE', idle, 'RETRYCOUNT', counted, 'JUSTID')
redis.call('HSET', JOB, 'attempts', counted)
if trouble ~= '' then
  redis.call('HSET', JOB, 'reason', trouble)
end
move(QUEUED)
announce(cap)
return 1
