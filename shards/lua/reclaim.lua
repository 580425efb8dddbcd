#!lua flags=allow-oom
-- reclaim: give the jobs of one claim of an earlier holder back to the shard.
-- Atomic because a job is in exactly one place: the claim ends in the step in which its jobs are ready again.
-- Jobs go back to the head of their lists, so the newest claim goes first and the last run of a claim before those
-- ahead of it: the jobs then stand in the order in which they stood before.
--
-- KEYS[1] fence    KEYS[2] claims    KEYS[3] ring of the high lane    KEYS[4] ring of the low lane
-- ARGV[1] fence of the caller
-- returns {jobs given back, claims of earlier fences that are left}, or {-1, 0}: the caller's fence is not the
--   shard's

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {-1, 0}
end

local orphan
local orphans = 0
local latest_fence, latest_number = -1, -1
for _, claim_id in ipairs(redis.call('SMEMBERS', KEYS[2])) do
  local fence, number = string.match(claim_id, '^(%d+):(%d+)$')
  if fence ~= ARGV[1] then
    orphans = orphans + 1
    fence, number = tonumber(fence) or 0, tonumber(number) or 0
    if fence > latest_fence or (fence == latest_fence and number > latest_number) then
      orphan, latest_fence, latest_number = claim_id, fence, number
    end
  end
end
if not orphan then
  return {0, 0}
end

local key = KEYS[2] .. ':' .. orphan
local claim = redis.call('LRANGE', key, 0, -1)
redis.call('DEL', key)
redis.call('SREM', KEYS[2], orphan)

local heads = {}
local at = 1
while at <= #claim do
  heads[#heads + 1] = at
  at = at + tonumber(string.match(claim[at], '|(%d+)$')) + 1
end
local given_back = 0
for head = #heads, 1, -1 do
  at = heads[head]
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
end
return {given_back, orphans - 1}
