-- ARGV: entry, consumer, deliveries, cap of the events, then events of the solve. Returns whether the lease was held.
if not holds(ARGV[1], ARGV[2], ARGV[3]) then
  return 0
end
for i = 5, #ARGV do
  redis.call('HINCRBY', JOB, 'told', #ARGV[i])
  add_event(ARGV[4], 'solve', ARGV[i])
end
weigh()
return 1
