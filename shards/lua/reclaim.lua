-- reclaim: give the jobs of one claim of an earlier holder back to the shard.
-- Atomic because a job is in exactly one place: the claim ends in the step in which its jobs are ready again.
--
-- KEYS[1] fence    KEYS[2] claims    KEYS[3] ring of the high lane    KEYS[4] ring of the low lane
-- ARGV[1] fence of the caller
-- returns {jobs given back, claims of earlier fences that are left}, or {-1, 0}: the caller's fence is not the
--   shard's

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {-1, 0}
end

local orphan
local left = 0
for _, claim_id in ipairs(redis.call('SMEMBERS', KEYS[2])) do
  if string.match(claim_id, '^%d+') ~= ARGV[1] then
    if orphan then
      left = left + 1
    else
      orphan = claim_id
    end
  end
end
if not orphan then
  return {0, 0}
end

local key = KEYS[2] .. ':' .. orphan
local claim = redis.call('LRANGE', key, 0, -1)
local given_back = 0
local at = 1
while at <= #claim do
  local lane, tenant, count = string.match(claim[at], '^(%l+)|(.-)|(%d+)$')
  local ring = lane == 'high' and KEYS[3] or KEYS[4]
  local jobs = {}
  for i = at + tonumber(count), at + 1, -1 do
    jobs[#jobs + 1] = claim[i]
  end
  if redis.call('LPUSH', ring .. ':' .. tenant, unpack(jobs)) == #jobs then
    redis.call('RPUSH', ring, tenant)
  end
  given_back = given_back + #jobs
  at = at + #jobs + 1
end
redis.call('DEL', key)
redis.call('SREM', KEYS[2], orphan)
return {given_back, left}
