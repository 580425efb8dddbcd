#!lua flags=allow-oom
-- acquire: take the lease of a shard, if it is free, has lapsed, or is the caller's own.
-- Atomic because of two members that ask at once one must get it. The new fence is written in the same step, so an
-- earlier holder can neither claim nor settle from then on.
--
-- The fence is "number.nonce". The number grows with each holder; the nonce tells two holders apart should Redis come
-- back from a crash without its last second (appendfsync everysec) and give the same number out again.
--
-- A lease lapses by Redis' clock. If that was set back, one whose holder is dead would keep its shard until the clock is
-- there again, so it is cut to the longest that a worker may be told; whoever lives renews it long before.
--
-- KEYS[1] fence    KEYS[2] lease (the holder's name, until it lapses)
-- ARGV[1] member   ARGV[2] how long the lease holds, in ms    ARGV[3] nonce, hex
-- ARGV[4] the longest that any lease may hold, in ms
-- returns {1, new fence}, or {0, holder}: another member has it

local holder = redis.call('GET', KEYS[2])
if holder and holder ~= ARGV[1] then
  if redis.call('PTTL', KEYS[2]) > tonumber(ARGV[4]) then
    redis.call('PEXPIRE', KEYS[2], ARGV[4])
  end
  return {0, holder}
end
local number = tonumber(string.match(redis.call('GET', KEYS[1]) or '0', '^%d+')) + 1
local fence = string.format('%d.%s', number, ARGV[3])
redis.call('SET', KEYS[1], fence)
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return {1, fence}
