#!lua flags=no-writes
-- tally: count a tenant's jobs in the shard, ready by lane, waiting for another try, and in claims.
-- Atomic because a job that moves meanwhile would be counted twice, or not at all.
--
-- KEYS[1] waiting    KEYS[2] claims    KEYS[3...] for each flow: its ready list in the high lane, and in the low lane
-- ARGV[1] how many waiting jobs are looked at, those that are due first
-- ARGV[2] how many runs in claims are looked at; 0 for nobody who asks about them
-- ARGV[3...] flows
-- returns {ready in high, ready in low, waiting, 1 if more jobs wait than were looked at, else 0, in claims,
--   1 if there are more runs in claims than were looked at, else 0}

local high, low, waiting, claimed = 0, 0, 0, 0
for i = 3, #KEYS, 2 do
  high = high + redis.call('LLEN', KEYS[i])
  low = low + redis.call('LLEN', KEYS[i + 1])
end
local most, runs_most = tonumber(ARGV[1]), tonumber(ARGV[2])
local ours = {}
for i = 3, #ARGV do
  ours[ARGV[i]] = true
end
for _, entry in ipairs(redis.call('ZRANGE', KEYS[1], 0, most - 1)) do
  -- "lane|flow|job"
  if ours[string.match(entry, '^[^|]*|([^|]*)|')] then
    waiting = waiting + 1
  end
end

-- A claim says at the head of each run how far it is to the next one, so the jobs between them are not read.
local runs = 0
local function walk(claim)
  local at = 0
  local head = redis.call('LINDEX', claim, at)
  while head and runs < runs_most do
    runs = runs + 1
    -- "lane|flow|count"
    local flow, count = string.match(head, '^%l+|(.-)|(%d+)$')
    if ours[flow] then
      claimed = claimed + count
    end
    at = at + count + 1
    head = redis.call('LINDEX', claim, at)
  end
  return not head
end

local whole = true
if runs_most > 0 then
  for _, claim_id in ipairs(redis.call('SMEMBERS', KEYS[2])) do
    whole = walk(KEYS[2] .. ':' .. claim_id)
    if not whole then
      break
    end
  end
end
return {high, low, waiting, redis.call('ZCARD', KEYS[1]) > most and 1 or 0, claimed, whole and 0 or 1}
