#!lua flags=allow-oom
-- grant: give a process that takes in a tenant's pushes some of those that its rate allows.
-- Atomic because the bucket is shared by all such processes: what is granted to one is not there for the next. Time is
-- Redis' own, the one clock that they share.
--
-- A token bucket that may go into debt: whoever needs something gets all of it as long as at least one push is there.
-- So a batch that is larger than the bucket is taken in like any other, and paid for by those that come after it.
--
-- KEYS[1] bucket: "pushes, Unix ms of that", below 0 for a debt; none for a full one
-- ARGV[1] pushes a second that flow in    ARGV[2] pushes that the bucket holds, at least 1
-- ARGV[3] need: granted whole, or not at all    ARGV[4] want: as many of these as are there
-- ARGV[5] pushes that were granted earlier and are given back
-- returns {granted, what is there now (below 0: a debt), ms until a need can be granted}

local per_s, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local clock = redis.call('TIME')
local now_ms = clock[1] * 1000 + math.floor(clock[2] / 1000)
local level, at_ms = string.match(redis.call('GET', KEYS[1]) or '', '^(%S+) (%d+)$')
level = level and level + math.max(0, now_ms - at_ms) * per_s / 1000 or burst
level = math.min(burst, level + ARGV[5])
local granted = 0
if level >= 1 then
  granted = math.max(tonumber(ARGV[3]), math.min(tonumber(ARGV[4]), math.floor(level)))
  level = level - granted
end
-- once it is full there is nothing to remember; a month stands for what a very slow rate would ask of Redis' clock
local full_ms = math.min(30 * 86400000, math.ceil((burst - level) * 1000 / per_s))
redis.call('SET', KEYS[1], string.format('%.6f %d', level, now_ms), 'PX', string.format('%d', full_ms + 1000))
return {granted, math.floor(level), level < 1 and math.ceil((1 - level) * 1000 / per_s) or 0}
