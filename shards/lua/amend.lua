#!lua flags=allow-oom
-- amend: replace the record of a tenant or of an API key, or remove it, and announce that.
-- Atomic because a change is made of what was read: if somebody else has changed the record since, nothing is written,
-- and the caller begins again with what is there now. So a key that was revoked does not come back with a change to it.
-- A Redis without memory lets it pass: that is when a tenant must be paused or removed, and a record grows by little.
--
-- KEYS[1] tenants or API keys    KEYS[2] changes (a channel)
-- ARGV[1] name of the record     ARGV[2] record as it was read    ARGV[3] record as it is to be, '' to remove it
-- ARGV[4] tenant whose change is announced
-- returns 1, or 0: the record is another by now

if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
  return 0
end
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
end
redis.call('PUBLISH', KEYS[2], ARGV[4])
return 1
