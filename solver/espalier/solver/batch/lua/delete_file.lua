-- Own keys: a file. ARGV: its id.
redis.call('DEL', KEYS[SHARED + 1])
redis.call('ZREM', EXPIRY, ARGV[1])
redis.call('ZREM', FILES, ARGV[1])
redis.call('ZREM', files_of(set_size(ARGV[1], '', 0)), ARGV[1])
