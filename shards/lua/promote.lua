#!lua flags=allow-oom
-- promote: make waiting jobs ready when their time has come.
-- Atomic because a job is in exactly one place. Promoted jobs go to the head of their list: they are older than
-- what stands there.
--
-- KEYS[1] waiting    KEYS[2] ring of the high lane    KEYS[3] ring of the low lane    KEYS[4] depth
-- ARGV[1] now in Unix ms    ARGV[2] how many, at most
-- returns {promoted, due time of the next waiting job in Unix ms or -1}

local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
for i = #due, 1, -1 do
  local member = due[i]
  local first = string.find(member, '|', 1, true)
  local second = string.find(member, '|', first + 1, true)
  local ring = string.sub(member, 1, first - 1) == 'high' and KEYS[2] or KEYS[3]
  local flow = string.sub(member, first + 1, second - 1)
  redis.call('ZREM', KEYS[1], member)
  if redis.call('LPUSH', ring .. ':' .. flow, string.sub(member, second + 1)) == 1 then
    redis.call('RPUSH', ring, flow)
  end
end
if #due > 0 then
  redis.call('INCRBY', KEYS[4], #due)
end
local following = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return {#due, tonumber(following[2] or -1)}
