-- ARGV: job id, seconds to keep it, cap of the events, channel. Returns whether there is such a job.
-- To cancel is to revoke the lease: whatever a worker still writes is refused; the channel only tells it sooner.
local job, keep, cap, channel = unpack(ARGV)
local state = redis.call('HGET', JOB, 'state')
if not state then
  return 0
end
if state == DONE or state == CANCELLED then
  return 1
end
if state == DEAD_LETTER then
  redis.call('XDEL', DEAD, redis.call('HGET', JOB, 'dead_entry'))
  redis.call('HDEL', JOB, 'dead_entry')
else
  leave_queue_or_line(job)
  redis.call('PUBLISH', channel, job)
end
close(job, CANCELLED, keep, cap)
return 1
