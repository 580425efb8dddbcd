-- issue: store another API key of a tenant, and announce it.
-- Atomic because a key must not outlive its tenant: one that is stored while the tenant is removed would open the next
-- tenant of that name.
--
-- KEYS[1] tenants    KEYS[2] API keys                KEYS[3] changes (a channel)
-- ARGV[1] tenant     ARGV[2] hash of the API key     ARGV[3] record of the API key
-- returns 1, or 0: there is no such tenant

if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then
  return 0
end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
redis.call('PUBLISH', KEYS[3], ARGV[1])
return 1
