#!lua flags=allow-oom
-- remove: forget a tenant with its API keys, and announce that.
-- Atomic because the name is free in this step: a key that is left would open the next tenant of that name, and one that
-- is taken away later may be that tenant's own. So it walks the keys of all tenants, about 2 ms for a thousand. A Redis
-- without memory lets it pass: it needs none.
--
-- KEYS[1] tenants    KEYS[2] API keys    KEYS[3] changes (a channel)
-- ARGV[1] tenant, which is what a key's record begins with
-- returns 1, or 0: there is no such tenant

if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then
  return 0
end
local found = redis.call('HGETALL', KEYS[2])
for i = 1, #found, 2 do
  if cmsgpack.unpack(found[i + 1])[1] == ARGV[1] then
    redis.call('HDEL', KEYS[2], found[i])
  end
end
redis.call('PUBLISH', KEYS[3], ARGV[1])
return 1
