-- ARGV: entry, consumer, deliveries, cap of the events, job id, seconds to keep it, result.
-- Returns whether the result stands: it was written now, or by this very delivery before its reply was lost.
local entry, consumer, deliveries, cap, job, keep, result = unpack(ARGV)
local winner = consumer .. '/' .. deliveries
if not holds(entry, consumer, deliveries) then
  return redis.call('HGET', JOB, 'winner') == winner and 1 or 0
end
if redis.call('HEXISTS', JOB, 'state') == 0 then -- Redis has lost the job: there is nothing that could end
  leave_queue(entry)
  return 0
end
redis.call('HSET', JOB, 'result', result, 'winner', winner)
redis.call('HDEL', JOB, 'reason')
leave_queue(entry)
close(job, DONE, keep, cap)
return 1
