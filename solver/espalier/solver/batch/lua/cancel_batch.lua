-- Own keys: those of the first job of a batch. Notes that the batch is cancelled as a whole, unless it has ended, or is gone.
if redis.call('HEXISTS', BATCH, 'count') == 1 and redis.call('HEXISTS', BATCH, 'ended') == 0 then
  redis.call('HSET', BATCH, 'cancelled', now())
end
