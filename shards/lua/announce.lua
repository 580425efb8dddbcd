#!lua flags=allow-oom
-- announce: say that a member lives, and learn who else does.
-- Atomic because the list is what members divide the shards by: it is read in the step that puts the caller on it.
-- Time is Redis' own, the one clock that all members share.
--
-- KEYS[1] members: a sorted set of names by the time at which each lapses, Unix ms
-- ARGV[1] for how long this holds, in ms; 0 to leave    ARGV[2] member
-- ARGV[3...] others that are taken to live for as long, unless they are on the list
-- returns the names of the members that live

local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now_ms)
if ARGV[1] == '0' then
  redis.call('ZREM', KEYS[1], ARGV[2])
else
  redis.call('ZADD', KEYS[1], now_ms + ARGV[1], ARGV[2])
  for i = 3, #ARGV do
    redis.call('ZADD', KEYS[1], 'NX', now_ms + ARGV[1], ARGV[i])
  end
end
return redis.call('ZRANGE', KEYS[1], 0, -1)
