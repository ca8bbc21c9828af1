-- ARGV: entry, consumer, deliveries, cap of the events, job id, seconds to keep the others of its batch, reason.
-- Returns whether the lease was held.
local entry, consumer, deliveries, cap, job, keep, reason = unpack(ARGV)
if not holds(entry, consumer, deliveries) then
  return 0
end
dead_letter(job, reason, redis.call('HGET', JOB, 'reason') or '')
redis.call('HSET', JOB, 'finished', now())
leave_queue(entry)
move(DEAD_LETTER)
announce(cap)
if count_of_batch() then
  expire_batch(job, keep, true)
end
return 1
