-- create: store a new tenant with its first API key, and announce it.
-- Atomic because a name is taken together with the key that opens it: a tenant without a key could not be told from one
-- whose key is known to somebody. What an earlier tenant of that name owed to its rate, and what a worker that had not
-- heard of its end noted of its flows, goes in the same step.
--
-- KEYS[1] tenants    KEYS[2] API keys    KEYS[3] changes (a channel)    KEYS[4] bucket of the tenant's rate
-- KEYS[5] conditions
-- ARGV[1] tenant     ARGV[2] its record  ARGV[3] hash of the API key    ARGV[4] record of the API key
-- ARGV[5...] names of the conditions that its flows may have
-- returns 1, or 0: the name is taken

if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 0 then
  return 0
end
redis.call('DEL', KEYS[4])
redis.call('HDEL', KEYS[5], unpack(ARGV, 5))
redis.call('HSET', KEYS[2], ARGV[3], ARGV[4])
redis.call('PUBLISH', KEYS[3], ARGV[1])
return 1
