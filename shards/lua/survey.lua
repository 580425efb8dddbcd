#!lua flags=no-writes
-- survey: how much stands in a shard, and for how long.
-- Atomic because a job that moves meanwhile would be counted twice, or not at all.
--
-- KEYS[1] ring of the high lane    KEYS[2] ring of the low lane    KEYS[3] depth    KEYS[4] waiting    KEYS[5] dead
-- ARGV[1] how many flows of a ring are looked at
-- returns {ready in both lanes, waiting, dead, ready in high, ready in low, oldest jobs...}: the lanes' numbers are of
--   the flows that were looked at, and so is the first job of each, with "high" or "low" before it

local most = tonumber(ARGV[1])
local reply = {
  tonumber(redis.call('GET', KEYS[3])) or 0,
  redis.call('ZCARD', KEYS[4]),
  redis.call('XLEN', KEYS[5]),
  0,
  0,
}
for lane = 1, 2 do
  for _, flow in ipairs(redis.call('LRANGE', KEYS[lane], 0, most - 1)) do
    local ready = KEYS[lane] .. ':' .. flow
    reply[3 + lane] = reply[3 + lane] + redis.call('LLEN', ready)
    local job = redis.call('LINDEX', ready, 0)
    if job then
      reply[#reply + 1] = lane == 1 and 'high' or 'low'
      reply[#reply + 1] = job
    end
  end
end
return reply
