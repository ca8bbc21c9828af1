-- ARGV: entry, consumer, deliveries, cap of the events, job id, seconds to keep the others of its batch, reason.
-- Returns whether the lease was held.
-- The letter carries everything that is known: message, reason, last error, and the journal as the trace so far.
local entry, consumer, deliveries, cap, job, keep, reason = unpack(ARGV)
if not holds(entry, consumer, deliveries) then
  return 0
end
local known = redis.call('HMGET', JOB, 'job', 'reason', 'attempts')
local letter = {'id', job, 'job', known[1] or '', 'reason', reason, 'error', known[2] or '', 'attempts', known[3] or 0}
local journal = redis.call('HGETALL', JOURNAL)
for i = 1, #journal, 2 do
  letter[#letter + 1] = 'candidate:' .. journal[i]
  letter[#letter + 1] = journal[i + 1]
end
redis.call('HSET', JOB, 'letter', redis.call('XADD', DEAD, '*', unpack(letter)), 'reason', reason, 'finished', now())
leave_queue(entry)
move(DEAD_LETTER)
announce(cap)
if count_of_batch() then
  expire_batch(job, keep, true)
end
return 1
