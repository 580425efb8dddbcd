#!lua flags=allow-oom
-- promote: make waiting jobs ready when their time has come.
-- Atomic because a job is in exactly one place. Promoted jobs go to the head of their list, as in shards/lua/promote.lua;
-- if something of it is claimed, they stand in front of that, at positions below the base, and are given back there.
--
-- KEYS[1] waiting    KEYS[2] ring of the high lane    KEYS[3] ring of the low lane    KEYS[4] depth
-- KEYS[5] spans of the high lane    KEYS[6] spans of the low lane
-- ARGV[1] now in Unix ms    ARGV[2] how many, at most
-- returns {promoted, due time of the next waiting job in Unix ms or -1}

local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
for i = #due, 1, -1 do
  local member = due[i]
  local lane, flow, job = string.match(member, '^(%l+)|(.-)|(.*)$')
  local ring = lane == 'high' and KEYS[2] or KEYS[3]
  local spans = lane == 'high' and KEYS[5] or KEYS[6]
  redis.call('ZREM', KEYS[1], member)
  local record = record_of(redis.call('HGET', spans, flow))
  if ready_in(record, redis.call('LPUSH', ring .. ':' .. flow, job) - 1) == 0 then
    redis.call('RPUSH', ring, flow)
  end
  if record.base < record.next then
    record.base = record.base - 1
    give_back(record, record.base, record.base + 1)
    redis.call('HSET', spans, flow, spelled_record(record))
  end
end
if #due > 0 then
  redis.call('INCRBY', KEYS[4], #due)
end
local following = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return {#due, tonumber(following[2] or -1)}
