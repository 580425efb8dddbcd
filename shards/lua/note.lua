#!lua flags=allow-oom
-- note: remember a condition: that something keeps a credential, or a topic of one, from being used.
-- Atomic because many workers note the same condition, and each adds to what is there.
--
-- KEYS[1] conditions
-- ARGV[1] name of the condition   ARGV[2] reason   ARGV[3] now in Unix ms   ARGV[4] how many times it was met
-- ARGV[5] how many conditions are kept, at most
-- returns 1 it is a new one, 0 it was known, -1 there are too many to keep another

local known = redis.call('HGET', KEYS[1], ARGV[1])
if not known then
  if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[5]) then
    return -1
  end
  redis.call('HSET', KEYS[1], ARGV[1],
    cjson.encode({reason = ARGV[2], since_ms = ARGV[3], seen_ms = ARGV[3], count = ARGV[4]}))
  return 1
end
local record = cjson.decode(known)
record.reason = ARGV[2]
record.seen_ms = ARGV[3]
-- as text: Lua would write a large number in a shape that is none of JSON's integers
record.count = string.format('%d', tonumber(record.count) + tonumber(ARGV[4]))
redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(record))
return 0
