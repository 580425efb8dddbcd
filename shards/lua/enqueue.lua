-- enqueue: append jobs of one tenant to a lane of the shard.
-- Atomic because the list and the ring must agree: a tenant stands in the ring exactly when its list has jobs.
-- Of all verbs only this one is refused while Redis is out of memory: the others are how memory becomes free.
--
-- KEYS[1] ring of the lane        KEYS[2] ready list of the tenant (ring key, colon, tenant)
-- KEYS[3] asleep                  KEYS[4] bell (a channel; declared for its hash tag)
-- ARGV[1] tenant                  ARGV[2...] jobs
-- returns the length of the ready list

local length
for first = 2, #ARGV, 4000 do
  -- Lua's unpack takes fewer than 8,000 values
  length = redis.call('RPUSH', KEYS[2], unpack(ARGV, first, math.min(first + 3999, #ARGV)))
end
if length == #ARGV - 1 then
  redis.call('RPUSH', KEYS[1], ARGV[1])
end
if redis.call('DEL', KEYS[3]) == 1 then
  redis.call('PUBLISH', KEYS[4], '')
end
return length
