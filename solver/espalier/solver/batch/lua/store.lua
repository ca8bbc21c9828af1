-- ARGV: entry, consumer, deliveries, number of the candidate, the candidate. Returns whether the lease was held.
local entry, consumer, deliveries, number, candidate = unpack(ARGV)
if not holds(entry, consumer, deliveries) then
  return 0
end
redis.call('HSET', JOURNAL, number, candidate)
redis.call('HSET', JOB, 'candidates', redis.call('HLEN', JOURNAL))
weigh()
return 1
