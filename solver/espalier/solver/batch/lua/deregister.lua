-- ARGV: milliseconds of silence, own name. Forgets this consumer, and silent ones, unless jobs are theirs.
for _, raw in ipairs(redis.call('XINFO', 'CONSUMERS', JOBS, GROUP)) do
  local consumer = {}
  for i = 1, #raw, 2 do
    consumer[raw[i]] = raw[i + 1]
  end
  if consumer.pending == 0 and (consumer.name == ARGV[2] or consumer.idle > tonumber(ARGV[1])) then
    redis.call('XGROUP', 'DELCONSUMER', JOBS, GROUP, consumer.name)
  end
end
return 1
