-- Own keys: the file. ARGV: its id, caller, seconds to keep it, files that the caller may have, bytes that it may have
-- (empty: any), then names and values of fields, the last one the content. Returns 1 and when it was stored; or -1 and the
-- caller's files where these would be too many, or -2 and its bytes.
local FILE = KEYS[SHARED + 1]
local id, caller, keep, files, most = unpack(ARGV, 1, 5)
local bytes = RECORD + #ARGV[#ARGV]
local count, stored = redis.call('ZCARD', files_of(caller)), tonumber(redis.call('HGET', STORED, caller) or 0)
if count >= tonumber(files) then
  return {-1, count}
end
if most ~= '' and stored + bytes > tonumber(most) then
  return {-2, stored}
end
local created = now()
local expires = string.format('%.6f', created + keep)
redis.call('HSET', FILE, 'created', created, 'expires', expires, 'caller', caller, unpack(ARGV, 6))
redis.call('EXPIRE', FILE, keep)
redis.call('ZADD', FILES, created, id)
redis.call('ZADD', files_of(caller), created, id)
redis.call('ZADD', EXPIRY, expires, id)
set_size(id, caller, bytes)
return {1, created}
