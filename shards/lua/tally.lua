#!lua flags=no-writes
-- tally: count a tenant's jobs in the shard, ready by lane and waiting for another try.
-- Atomic because a job that is promoted meanwhile would be counted twice, or not at all.
--
-- KEYS[1] waiting    KEYS[2...] for each flow: its ready list in the high lane, and in the low lane
-- ARGV[1] how many waiting jobs are looked at, those that are due first    ARGV[2...] flows
-- returns {ready in high, ready in low, waiting, 1 if more jobs wait than were looked at, else 0}

local high, low, waiting = 0, 0, 0
for i = 2, #KEYS, 2 do
  high = high + redis.call('LLEN', KEYS[i])
  low = low + redis.call('LLEN', KEYS[i + 1])
end
local most = tonumber(ARGV[1])
local ours = {}
for i = 2, #ARGV do
  ours[ARGV[i]] = true
end
for _, entry in ipairs(redis.call('ZRANGE', KEYS[1], 0, most - 1)) do
  -- "lane|flow|job"
  if ours[string.match(entry, '^[^|]*|([^|]*)|')] then
    waiting = waiting + 1
  end
end
return {high, low, waiting, redis.call('ZCARD', KEYS[1]) > most and 1 or 0}
