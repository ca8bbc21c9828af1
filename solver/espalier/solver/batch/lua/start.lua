-- ARGV: entry, consumer, deliveries, cap of the events. Returns the job, its journal, and whether it was never begun
-- before; or nothing without the lease.
local entry, consumer, deliveries, cap = unpack(ARGV)
if not holds(entry, consumer, deliveries) then
  return false
end
local job = redis.call('HGET', JOB, 'job')
if not job then
  leave_queue(entry)
  return false
end
redis.call('HSET', JOB, 'attempts', deliveries)
local first = redis.call('HSETNX', JOB, 'started', now())
move(RUNNING)
announce(cap)
return {job, redis.call('HVALS', JOURNAL), first}
