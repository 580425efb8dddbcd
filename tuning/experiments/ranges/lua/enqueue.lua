-- enqueue: append jobs of one flow to a lane of the shard.
-- Atomic because the list, the record of its spans and the ring must agree: a flow stands in the ring exactly when some
-- of its list is ready, which the length of the list does not say.
--
-- KEYS[1] ring of the lane        KEYS[2] ready list of the flow (ring key, colon, flow)
-- KEYS[3] unrung                  KEYS[4] bell (a channel; declared for its hash tag)
-- KEYS[5] depth                   KEYS[6] waiting        KEYS[7] the flow's ready list in the other lane
-- KEYS[8] spans of the lane       KEYS[9] spans of the other lane
-- ARGV[1] flow                    ARGV[2] jobs that the flow may have ready here, 0 for any number
-- ARGV[3] jobs that the shard may hold, ready and waiting, 0 for any number    ARGV[4...] jobs
-- returns 1 taken, -1 the flow has too many already, -2 the shard has

local flow_most, shard_most = tonumber(ARGV[2]), tonumber(ARGV[3])
local ready = ready_in(record_of(redis.call('HGET', KEYS[8], ARGV[1])), redis.call('LLEN', KEYS[2]))
if flow_most > 0
  and ready + ready_in(record_of(redis.call('HGET', KEYS[9], ARGV[1])), redis.call('LLEN', KEYS[7])) >= flow_most then
  return -1
end
if shard_most > 0
  and (tonumber(redis.call('GET', KEYS[5])) or 0) + redis.call('ZCARD', KEYS[6]) >= shard_most then
  return -2
end

for first = 4, #ARGV, 4000 do
  -- Lua's unpack takes fewer than 8,000 values
  redis.call('RPUSH', KEYS[2], unpack(ARGV, first, math.min(first + 3999, #ARGV)))
end
redis.call('INCRBY', KEYS[5], #ARGV - 3)
if ready == 0 then
  redis.call('RPUSH', KEYS[1], ARGV[1])
end
-- while the shard is awake only a flow that was not there is news
local unrung = redis.call('GET', KEYS[3])
if unrung and (ready == 0 or unrung == 'asleep') then
  redis.call('DEL', KEYS[3])
  redis.call('PUBLISH', KEYS[4], '')
end
return 1
