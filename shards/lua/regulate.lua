#!lua flags=allow-oom
-- regulate: say how the flows of a tenant are served in a shard, and wake the shard, which may have work by that.
-- Atomic because a claim reads the rules while it walks the ring.
--
-- KEYS[1] rules    KEYS[2] budgets    KEYS[3] once
-- KEYS[4] unrung   KEYS[5] bell (a channel; declared for its hash tag)
-- ARGV[1] 1 if pushes of these flows must not be repeated when in doubt, else 0
-- ARGV[2...] for each flow: its name, and its rule "weight per_s paused" or '' for a flow like most
-- returns 1

for i = 2, #ARGV, 2 do
  local flow, rule = ARGV[i], ARGV[i + 1]
  if rule == '' then
    redis.call('HDEL', KEYS[1], flow)
  else
    redis.call('HSET', KEYS[1], flow, rule)
  end
  redis.call('HDEL', KEYS[2], flow)
  redis.call(ARGV[1] == '1' and 'SADD' or 'SREM', KEYS[3], flow)
end
if redis.call('DEL', KEYS[4]) == 1 then
  redis.call('PUBLISH', KEYS[5], '')
end
return 1
