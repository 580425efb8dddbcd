#!lua flags=allow-oom
-- announce: say that a member lives, and learn who else does.
-- Atomic because the list is what members divide the shards by: it is read in the step that puts the caller on it.
-- Time is Redis' own, the one clock that all members share.
--
-- When the caller's own announcement is missing or half over, Redis was away or slow, and so the others could not
-- announce themselves either. Whoever is back first would find itself alone, and take everything: therefore those that
-- it knew are taken to live for one term more. The same holds at the start, when its siblings start with it. Who is
-- only taken to live is marked by half a millisecond, and not known by that: or the dead would live as long as somebody
-- is late.
--
-- An announcement that holds for longer than one may was made before the clock was set back, and so may those of the
-- others be. They are cut to one term, by which the living are heard again: the dead would live until the clock is there.
--
-- KEYS[1] members: a sorted set of names by the time at which each lapses, Unix ms; .5 if it was not heard itself
-- ARGV[1] for how long this holds, in ms; 0 to leave    ARGV[2] member
-- ARGV[3...] the members that the caller knew to have been heard
-- returns the names of the members that live, and of those among them that were heard

local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local own_ms = redis.call('ZSCORE', KEYS[1], ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now_ms)
if ARGV[1] == '0' then
  redis.call('ZREM', KEYS[1], ARGV[2])
else
  redis.call('ZADD', KEYS[1], now_ms + ARGV[1], ARGV[2])
  if not own_ms or own_ms - now_ms < ARGV[1] / 2 then
    for i = 3, #ARGV do
      redis.call('ZADD', KEYS[1], 'NX', now_ms + ARGV[1] + 0.5, ARGV[i])
    end
  elseif own_ms - now_ms > tonumber(ARGV[1]) then
    for _, member in ipairs(redis.call('ZRANGE', KEYS[1], string.format('(%d', now_ms + ARGV[1]), '+inf', 'BYSCORE')) do
      redis.call('ZADD', KEYS[1], now_ms + ARGV[1] + 0.5, member)
    end
  end
end
local live, heard = {}, {}
local found = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for i = 1, #found, 2 do
  live[#live + 1] = found[i]
  if tonumber(found[i + 1]) % 1 == 0 then
    heard[#heard + 1] = found[i]
  end
end
return {live, heard}
