-- ARGV: job id, cap of the events. A dead job is queued again and keeps its journal. Returns whether it was dead.
local job, cap = unpack(ARGV)
if redis.call('HGET', JOB, 'state') ~= DEAD_LETTER then
  return 0
end
redis.call('XDEL', DEAD, redis.call('HGET', JOB, 'dead_entry'))
redis.call('HDEL', JOB, 'dead_entry', 'finished', 'entry')
redis.call('HSET', JOB, 'attempts', 0)
weigh()
persist_batch(job)
move(QUEUED)
announce(cap)
wait_for_turn(job)
wake()
return 1
