-- ARGV: consumer, then for each lease: entry, deliveries. Returns the entries whose lease is lost.
local consumer, lost = ARGV[1], {}
for i = 2, #ARGV, 2 do
  local entry = ARGV[i]
  local pending = redis.pcall('XPENDING', JOBS, GROUP, entry, entry, 1)
  if not pending.err and pending[1] and pending[1][2] == consumer and pending[1][4] == tonumber(ARGV[i + 1]) then
    redis.call('XCLAIM', JOBS, GROUP, consumer, 0, entry, 'JUSTID')
  else
    lost[#lost + 1] = entry
  end
end
return lost
