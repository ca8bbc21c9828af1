-- Counts anew the open jobs of each caller, and its bytes.
redis.call('DEL', OPEN, STORED)
for _, batch in ipairs(redis.call('ZRANGE', BATCHES, 0, -1)) do
  local caller, queued, running = unpack(redis.call('HMGET', BATCH_PREFIX .. batch, 'caller', QUEUED, RUNNING))
  local jobs = tonumber(queued or 0) + tonumber(running or 0)
  if caller and jobs > 0 then
    redis.call('HINCRBY', OPEN, caller, jobs)
  end
end
for index, prefix in pairs({[INDEX] = JOB_PREFIX, [BATCHES] = BATCH_PREFIX, [FILES] = FILE_PREFIX}) do
  for _, id in ipairs(redis.call('ZRANGE', index, 0, -1)) do
    local key = prefix .. id
    local size = redis.call('HGET', SIZES, id)
    if size and redis.call('EXISTS', key) == 0 then
      redis.call('HDEL', SIZES, id)
    elseif size then
      local bytes, caller = string.match(size, '^(%d+) (.*)$')
      redis.call('HINCRBY', STORED, caller, bytes)
    elseif index == FILES then
      local caller = redis.call('HGET', key, 'caller')
      if caller then
        set_size(id, caller, RECORD + redis.call('HSTRLEN', key, 'content'))
      end
    end
  end
end
