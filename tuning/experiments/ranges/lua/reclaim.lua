#!lua flags=allow-oom
-- reclaim: give the jobs of one claim of an earlier holder back to the shard.
-- Atomic because a job is in one pair of hands: the claim ends in the step in which its ranges are given back. They are
-- ready where they stand, so the order of claims does not matter; jobs that are buried or come back later are cut out
-- of their range, as settled. Who is suspected and who is buried: as in shards/lua/reclaim.lua, line by line.
--
-- KEYS[1] fence      KEYS[2] claims    KEYS[3] ring of the high lane    KEYS[4] ring of the low lane
-- KEYS[5] waiting    KEYS[6] dead      KEYS[7] deaths                   KEYS[8] once
-- KEYS[9] depth      KEYS[10] spans of the high lane                    KEYS[11] spans of the low lane
-- ARGV as in shards/lua/reclaim.lua
-- returns {jobs that the claim held, claims of earlier fences that are left}, or {-1, 0}: the caller's fence is not
--   the shard's

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {-1, 0}
end

local orphan
local orphans = 0
for _, claim_id in ipairs(redis.call('HKEYS', KEYS[2])) do
  if string.match(claim_id, '^(.-):%d+$') ~= ARGV[1] then
    orphans = orphans + 1
    orphan = claim_id
  end
end
if not orphan then
  return {0, 0}
end

local claim = redis.call('HGET', KEYS[2], orphan)
redis.call('HDEL', KEYS[2], orphan)

local may_have_been_sent = ARGV[2] == '1'
local fatal = tonumber(ARGV[3])
local clock = redis.call('TIME')
local now_ms = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- The name that a job's deaths are counted under: its id, which is the first field of a msgpack array, as bytes of a
-- length that is one byte. (cmsgpack knows no bytes.) What is no job goes by its content.
local function name_of(run, job)
  local length = string.match(job, '^[\144-\159]\196(.)') or string.match(job, '^\220..\196(.)')
  if not length then
    return redis.sha1hex(run .. job)
  end
  local first = string.byte(job) == 220 and 6 or 4
  return string.sub(job, first, first + string.byte(length) - 1)
end

-- its attempts and its time of admission are in the job itself
local function bury(lane, flow, reason, job)
  redis.call('XADD', KEYS[6], 'MAXLEN', '~', ARGV[5], '*',
    'tenant', string.match(flow, '^[^/]*'), 'reason', reason, 'at_ms', string.format('%d', now_ms), 'job', job, 'lane', lane,
    'status', '0', 'timestamp_ms', '0')
end

local runs = {}
local total, named = 0, 0
if may_have_been_sent and redis.call('HLEN', KEYS[7]) > tonumber(ARGV[6]) then
  redis.call('DEL', KEYS[7])
end
for lane, flow, first, count in string.gmatch(claim, '(%l+)|(%S-)|(%-?%d+)|(%d+)') do
  local high = lane == 'high'
  local run = {lane = lane, flow = flow, first = tonumber(first), deaths = {},
    ring = high and KEYS[3] or KEYS[4], spans = high and KEYS[10] or KEYS[11]}
  local record = record_of(redis.call('HGET', run.spans, flow))
  local at = first - record.base
  run.jobs = redis.call('LRANGE', run.ring .. ':' .. flow, at, at + count - 1)
  for i, job in ipairs(run.jobs) do
    run.deaths[i] = may_have_been_sent and redis.call('HINCRBY', KEYS[7], name_of(lane .. '|' .. flow, job), 1) or 0
    if run.deaths[i] >= fatal then
      named = named + 1
    end
  end
  total = total + #run.jobs
  runs[#runs + 1] = run
end
if may_have_been_sent then
  redis.call('EXPIRE', KEYS[7], ARGV[7])
end

local suspects = 0
-- whether the job is ready again; if not, it is elsewhere now
local function returns(run, once, job, deaths)
  if once then
    bury(run.lane, run.flow, 'InDoubt: worker lost', job)
  elseif deaths >= fatal and (named == 1 or deaths >= 2 * fatal) then
    -- with others at its side it is not yet named, but nothing is tried for ever
    bury(run.lane, run.flow, 'Poison', job)
  elseif deaths >= fatal - 1 then
    local due_ms = string.format('%d', now_ms + (suspects * ARGV[8] + ARGV[9] + 1) * ARGV[4])
    suspects = suspects + 1
    redis.call('ZADD', KEYS[5], due_ms, run.lane .. '|' .. run.flow .. '|' .. job)
  else
    return true
  end
  return false
end

for at = #runs, 1, -1 do
  local run = runs[at]
  local once = may_have_been_sent and redis.call('SISMEMBER', KEYS[8], run.flow) == 1
  local list = run.ring .. ':' .. run.flow
  local record = record_of(redis.call('HGET', run.spans, run.flow))
  local base = record.base
  local was_ready = ready_in(record, redis.call('LLEN', list))
  local given = 0
  for i = #run.jobs, 1, -1 do
    local position = run.first + i - 1
    if returns(run, once, run.jobs[i], run.deaths[i]) then
      give_back(record, position, position + 1)
      given = given + 1
    else
      settle_range(record, position, position + 1)
    end
  end
  if record.base > base then
    redis.call('LTRIM', list, string.format('%d', record.base - base), '-1')
  end
  local text = spelled_record(record)
  if text then
    redis.call('HSET', run.spans, run.flow, text)
  else
    redis.call('HDEL', run.spans, run.flow)
  end
  if given > 0 then
    if was_ready == 0 then
      redis.call('RPUSH', run.ring, run.flow)
    end
    redis.call('INCRBY', KEYS[9], given)
  end
end
return {total, orphans - 1}
