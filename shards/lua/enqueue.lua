-- enqueue: append jobs of one flow to a lane of the shard.
-- Atomic because the list and the ring must agree: a flow stands in the ring exactly when its list has jobs. Either all
-- jobs are taken or none: what stands in the queues already decides, so a batch may go beyond a bound by its own length.
-- A campaign's record is written, and its elements are counted, in the step in which they join the list.
-- Of all verbs only this one is refused while Redis is out of memory: the others are how memory becomes free.
--
-- KEYS[1] ring of the lane        KEYS[2] ready list of the flow (ring key, colon, flow)
-- KEYS[3] unrung                  KEYS[4] bell (a channel; declared for its hash tag)
-- KEYS[5] depth                   KEYS[6] waiting        KEYS[7] the flow's ready list in the other lane
-- KEYS[8] campaigns               KEYS[9] left
-- ARGV[1] flow                    ARGV[2] jobs that the flow may have ready here, 0 for any number
-- ARGV[3] jobs that the shard may hold, ready and waiting, 0 for any number
-- ARGV[4] number of campaigns, then for each: its id, its record, how many of the jobs are its elements
-- ARGV[...] jobs
-- returns 1 taken, -1 the flow has too many already, -2 the shard has; or an error: another campaign has that id

local flow_most, shard_most = tonumber(ARGV[2]), tonumber(ARGV[3])
if flow_most > 0 and redis.call('LLEN', KEYS[2]) + redis.call('LLEN', KEYS[7]) >= flow_most then
  return -1
end
if shard_most > 0
  and (tonumber(redis.call('GET', KEYS[5])) or 0) + redis.call('ZCARD', KEYS[6]) >= shard_most then
  return -2
end

local before = 4 + 3 * ARGV[4]
for i = 5, before, 3 do
  -- two of one millisecond may draw the same 50 bits, once in the life of a planet
  if (redis.call('HGET', KEYS[8], ARGV[i]) or ARGV[i + 1]) ~= ARGV[i + 1] then
    return redis.error_reply('ERR another campaign has this id')
  end
end
for i = 5, before, 3 do
  redis.call('HSET', KEYS[8], ARGV[i], ARGV[i + 1])
  redis.call('HINCRBY', KEYS[9], ARGV[i], ARGV[i + 2])
end

local length
for first = before + 1, #ARGV, 4000 do
  -- Lua's unpack takes fewer than 8,000 values
  length = redis.call('RPUSH', KEYS[2], unpack(ARGV, first, math.min(first + 3999, #ARGV)))
end
redis.call('INCRBY', KEYS[5], #ARGV - before)
local joins = length == #ARGV - before
if joins then
  redis.call('RPUSH', KEYS[1], ARGV[1])
end
-- while the shard is awake only a flow that was not there is news
local unrung = redis.call('GET', KEYS[3])
if unrung and (joins or unrung == 'asleep') then
  redis.call('DEL', KEYS[3])
  redis.call('PUBLISH', KEYS[4], '')
end
return 1
