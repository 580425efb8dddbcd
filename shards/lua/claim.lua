#!lua flags=allow-oom
-- claim: move up to `want` ready jobs into a claim and return them.
-- Atomic because a job is in exactly one place: it leaves its ready list and joins the claim in one step, and a
-- worker that lost the shard takes nothing.
--
-- Tenants are served in turn: each visit takes one quantum, then the tenant goes to the end of the ring. The high
-- lane is served first but leaves `reserved` jobs of the claim to the low lane. Tenants to pass over are set aside
-- while the ring is walked, so that each costs one step however many turns the others take.
--
-- KEYS[1] fence    KEYS[2] ring of the high lane    KEYS[3] ring of the low lane
-- KEYS[4] claims   KEYS[5] the new claim (claims key, colon, claim id)    KEYS[6] asleep
-- ARGV[1] fence of the caller     ARGV[2] claim id     ARGV[3] want (fewer than 3,900)
-- ARGV[4] quantum                 ARGV[5] reserved     ARGV[6...] tenants to pass over
-- returns {state, run...}: state -1 the caller's fence is not the shard's, 0 more jobs are ready,
--   1 nothing is left that the caller could take and the shard is asleep;
--   each run is "lane|tenant|count" followed by so many jobs

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {-1}
end

local quantum = tonumber(ARGV[4])
local blocked = {}
for i = 6, #ARGV do
  blocked[ARGV[i]] = true
end

local claim = {}
local taken = 0
local reply = {0}

local function take(lane, ring, limit)
  local aside = {}
  local tenants = redis.call('LLEN', ring)
  while taken < limit and tenants > 0 do
    local tenant = redis.call('LPOP', ring)
    if blocked[tenant] then
      aside[#aside + 1] = tenant
      tenants = tenants - 1
    else
      local ready = ring .. ':' .. tenant
      local portion = limit - taken
      -- a tenant alone in the ring owes no turn to anyone
      if tenants > 1 and quantum < portion then
        portion = quantum
      end
      -- no list at all: someone deleted it by hand; to fail here would lose the jobs taken so far
      local jobs = redis.call('LPOP', ready, portion) or {}
      if #jobs > 0 then
        claim[#claim + 1] = lane .. '|' .. tenant .. '|' .. #jobs
      end
      for i = 1, #jobs do
        claim[#claim + 1] = jobs[i]
      end
      taken = taken + #jobs
      if #jobs == portion and redis.call('EXISTS', ready) == 1 then
        redis.call('RPUSH', ring, tenant)
      else
        tenants = tenants - 1
      end
    end
  end
  for i = 1, #aside do
    redis.call('RPUSH', ring, aside[i])
  end
  return tenants == 0
end

local want = tonumber(ARGV[3])
take('high', KEYS[2], want - tonumber(ARGV[5]))
local low_is_empty = take('low', KEYS[3], want)
local high_is_empty = take('high', KEYS[2], want)

if taken > 0 then
  redis.call('SADD', KEYS[4], ARGV[2])
  redis.call('RPUSH', KEYS[5], unpack(claim))
end
if low_is_empty and high_is_empty then
  redis.call('SET', KEYS[6], 1)
  reply[1] = 1
end
for i = 1, #claim do
  reply[i + 1] = claim[i]
end
return reply
