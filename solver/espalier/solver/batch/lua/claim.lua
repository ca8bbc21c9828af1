-- ARGV: consumer, how many at most.
-- Returns for each job that is delivered to the consumer: entry, job id.
local consumer, count = ARGV[1], tonumber(ARGV[2])
local taken = {}
while #taken < count do
  local before = #taken
  local news = redis.call('XREADGROUP', 'GROUP', GROUP, consumer, 'COUNT', count - before, 'STREAMS', JOBS, '>')
  for _, entry in ipairs(news and news[1][2] or {}) do
    taken[#taken + 1] = {entry[1], entry[2][2]}
  end
  if #taken == before and not feed() then
    break
  end
end
wake()
return taken
