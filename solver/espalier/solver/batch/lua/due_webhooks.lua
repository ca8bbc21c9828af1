-- ARGV: seconds until others may try, how many at most, how many of one caller at a time, then for each caller that is being
-- told: its name, how many. Those with the fewest come first. Returns caller and id of batches whose webhook is due; they are this server's for so long.
local seconds, most, each = unpack(ARGV, 1, 3)
local busy, due = {}, {}
for i = 4, #ARGV, 2 do
  busy[ARGV[i]] = tonumber(ARGV[i + 1])
end
local callers = redis.call('ZRANGEBYSCORE', WEBHOOKS, '-inf', now())
table.sort(callers, function(one, other)
  return (busy[one] or 0) < (busy[other] or 0)
end)
for _, caller in ipairs(callers) do
  local free = math.min(most - #due, each - (busy[caller] or 0))
  if free > 0 then
    for _, batch in ipairs(redis.call('ZRANGEBYSCORE', owed_by(caller), '-inf', now(), 'LIMIT', 0, free)) do
      due[#due + 1] = {caller, batch}
      owe(caller, batch, now() + seconds)
    end
  end
end
return due
