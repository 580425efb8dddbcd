#!lua flags=allow-oom
-- renew: keep a shard for another term.
-- Atomic because a lease that has lapsed is revived only while nobody else has taken the shard since.
--
-- KEYS[1] fence    KEYS[2] lease
-- ARGV[1] fence of the caller    ARGV[2] member    ARGV[3] how long the lease holds from now, in ms
-- returns 1, or 0: the shard has another holder

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
return 1
