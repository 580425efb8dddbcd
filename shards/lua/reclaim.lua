#!lua flags=allow-oom
-- reclaim: give the jobs of one claim of an earlier holder back to the shard.
-- Atomic because a job is in exactly one place: the claim ends in the step in which its jobs are ready again.
-- Jobs go back to the head of their lists, so the newest claim goes first and the last run of a claim before those
-- ahead of it: the jobs then stand in the order in which they stood before.
--
-- A job that was in hand at the death of several holders may be what they died of. At the last death but one it comes
-- back alone, in a time slot of its own, so that the last death names it and spares its neighbours; then it is buried.
-- Slots go round: each shard uses every n-th, because a holder has several shards and dies with all of them. Jobs of
-- flows that want none of them sent twice are buried at once, if they may have been sent. Elements of campaigns go back
-- as they are; one that is buried becomes a job first, so that its letter can be read when the campaign is forgotten.
--
-- KEYS[1] fence      KEYS[2] claims    KEYS[3] ring of the high lane    KEYS[4] ring of the low lane
-- KEYS[5] waiting    KEYS[6] dead      KEYS[7] deaths                   KEYS[8] once
-- KEYS[9] depth      KEYS[10] campaigns    KEYS[11] left
-- ARGV[1] fence of the caller    ARGV[2] 1 if the jobs may have been sent, 0 if nobody ever learned of the claim
-- ARGV[3] at how many deaths a job is buried    ARGV[4] length of a slot, in ms
-- ARGV[5] length of the dead stream, at most (about)
-- ARGV[6] jobs whose deaths are remembered, at most (about)    ARGV[7] for how long, in s
-- ARGV[8] slots in a round    ARGV[9] which of them is the shard's, from 0
-- returns {jobs that went back, jobs that were buried as in doubt, jobs that were buried as poison, claims of earlier
--   fences that are left}, or {-1, 0, 0, 0}: the caller's fence is not the shard's

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {-1, 0, 0, 0}
end

local orphan
local orphans = 0
local latest_fence, latest_number = -1, -1
for _, claim_id in ipairs(redis.call('SMEMBERS', KEYS[2])) do
  local fence, number = string.match(claim_id, '^(.-):(%d+)$')
  if fence ~= ARGV[1] then
    orphans = orphans + 1
    fence, number = tonumber(string.match(fence or '', '^%d+')) or 0, tonumber(number) or 0
    if fence > latest_fence or (fence == latest_fence and number > latest_number) then
      orphan, latest_fence, latest_number = claim_id, fence, number
    end
  end
end
if not orphan then
  return {0, 0, 0, 0}
end

local key = KEYS[2] .. ':' .. orphan
local claim = redis.call('LRANGE', key, 0, -1)
redis.call('DEL', key)
redis.call('SREM', KEYS[2], orphan)

local may_have_been_sent = ARGV[2] == '1'
local fatal = tonumber(ARGV[3])
local clock = redis.call('TIME')
local now_ms = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- An element is 0xc1, 16 bytes of an id whose first 13 are the campaign's, and the bytes of a device token.
local function is_element(job)
  return string.byte(job) == 193 and #job > 17
end

local function hex_of(bytes)
  return (string.gsub(bytes, '.', function(each) return string.format('%02x', string.byte(each)) end))
end

local function id_of(element)
  local digits = hex_of(string.sub(element, 2, 17))
  return string.gsub(digits, '^(%x%x%x%x%x%x%x%x)(%x%x%x%x)(%x%x%x%x)(%x%x%x%x)', '%1-%2-%3-%4-', 1)
end

-- The job of an element: an array (of fewer than 16 fields) with two more at its front than the record's, the id and
-- the token, as bytes of a length that is one byte. What it was is counted off.
local function expanded(element)
  local campaign = string.sub(element, 2, 14)
  local record = redis.call('HGET', KEYS[10], campaign)
  if not record then
    return element
  end
  if redis.call('HINCRBY', KEYS[11], campaign, -1) <= 0 then
    redis.call('HDEL', KEYS[11], campaign)
    redis.call('HDEL', KEYS[10], campaign)
  end
  local id, token = id_of(element), hex_of(string.sub(element, 18))
  return string.char(string.byte(record) + 2)
    .. '\196' .. string.char(#id) .. id .. '\196' .. string.char(#token) .. token .. string.sub(record, 2)
end

-- The name that a job's deaths are counted under: its id, which is the first field of a msgpack array, as bytes of a
-- length that is one byte. (cmsgpack knows no bytes.) What is no job goes by its content.
local function name_of(run, job)
  if is_element(job) then
    return (id_of(job))
  end
  local length = string.match(job, '^[\144-\159]\196(.)') or string.match(job, '^\220..\196(.)')
  if not length then
    return redis.sha1hex(run .. job)
  end
  local first = string.byte(job) == 220 and 6 or 4
  return string.sub(job, first, first + string.byte(length) - 1)
end

-- its attempts and its time of admission are in the job itself
local function bury(lane, flow, reason, job)
  if is_element(job) then
    job = expanded(job)
  end
  redis.call('XADD', KEYS[6], 'MAXLEN', '~', ARGV[5], '*',
    'tenant', string.match(flow, '^[^/]*'), 'reason', reason, 'at_ms', string.format('%d', now_ms), 'job', job, 'lane', lane,
    'status', '0', 'timestamp_ms', '0')
end

local heads = {}
local deaths = {}
local named = 0
if may_have_been_sent and redis.call('HLEN', KEYS[7]) > tonumber(ARGV[6]) then
  redis.call('DEL', KEYS[7])
end
local at = 1
while at <= #claim do
  heads[#heads + 1] = at
  local run, count = string.match(claim[at], '^(.*)|(%d+)$')
  for i = at + 1, at + count do
    deaths[i] = may_have_been_sent and redis.call('HINCRBY', KEYS[7], name_of(run, claim[i]), 1) or 0
    if deaths[i] >= fatal then
      named = named + 1
    end
  end
  at = at + count + 1
end
if may_have_been_sent then
  redis.call('EXPIRE', KEYS[7], ARGV[7])
end

local suspects, in_doubt, poison = 0, 0, 0
for head = #heads, 1, -1 do
  at = heads[head]
  local lane, flow, count = string.match(claim[at], '^(%l+)|(.-)|(%d+)$')
  local ring = lane == 'high' and KEYS[3] or KEYS[4]
  local once = may_have_been_sent and redis.call('SISMEMBER', KEYS[8], flow) == 1
  local jobs = {}
  for i = at + tonumber(count), at + 1, -1 do
    if once then
      in_doubt = in_doubt + 1
      bury(lane, flow, 'InDoubt: worker lost', claim[i])
    elseif deaths[i] >= fatal and (named == 1 or deaths[i] >= 2 * fatal) then
      -- with others at its side it is not yet named, but nothing is tried for ever
      poison = poison + 1
      bury(lane, flow, 'Poison', claim[i])
    elseif deaths[i] >= fatal - 1 then
      local due_ms = string.format('%d', now_ms + (suspects * ARGV[8] + ARGV[9] + 1) * ARGV[4])
      suspects = suspects + 1
      redis.call('ZADD', KEYS[5], due_ms, lane .. '|' .. flow .. '|' .. claim[i])
    else
      jobs[#jobs + 1] = claim[i]
    end
  end
  if #jobs > 0 then
    if redis.call('LPUSH', ring .. ':' .. flow, unpack(jobs)) == #jobs then
      redis.call('RPUSH', ring, flow)
    end
    redis.call('INCRBY', KEYS[9], #jobs)
  end
end
return {#claim - #heads - in_doubt - poison, in_doubt, poison, orphans - 1}
