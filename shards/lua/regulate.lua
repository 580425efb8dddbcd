#!lua flags=allow-oom
-- regulate: say how the flows of a tenant are served in a shard, and wake the shard, which may have work by that.
-- Atomic because a claim reads the rules while it walks the ring.
-- What is said already changes nothing: a flow keeps what is left of its budget, and a shard that sleeps sleeps on.
--
-- KEYS[1] rules    KEYS[2] budgets    KEYS[3] once
-- KEYS[4] unrung   KEYS[5] bell (a channel; declared for its hash tag)
-- ARGV[1] 1 if pushes of these flows must not be repeated when in doubt, else 0
-- ARGV[2...] for each flow: its name, and its rule "weight per_s paused" or '' for a flow like most
-- returns 1

local changed = false
for i = 2, #ARGV, 2 do
  local flow, rule = ARGV[i], ARGV[i + 1]
  if (redis.call('HGET', KEYS[1], flow) or '') ~= rule then
    changed = true
    if rule == '' then
      redis.call('HDEL', KEYS[1], flow)
    else
      redis.call('HSET', KEYS[1], flow, rule)
    end
    redis.call('HDEL', KEYS[2], flow)
  end
  redis.call(ARGV[1] == '1' and 'SADD' or 'SREM', KEYS[3], flow)
end
if changed and redis.call('DEL', KEYS[4]) == 1 then
  redis.call('PUBLISH', KEYS[5], '')
end
return 1
