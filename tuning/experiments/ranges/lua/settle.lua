#!lua flags=allow-oom
-- settle: forget a claim, after each of its jobs has met its fate, and trim what is done at the head of the lists.
-- Atomic because the fates of a claim are written together with its end. Jobs that are tried again or buried are copied,
-- as their caller knows them: where they stood they belong to nobody from then on, and are trimmed with their range.
-- A second settle of the same claim does nothing.
--
-- KEYS[1] fence    KEYS[2] claims    KEYS[3] waiting    KEYS[4] dead    KEYS[5] dead tokens
-- KEYS[6] ring of the high lane    KEYS[7] ring of the low lane
-- KEYS[8] spans of the high lane   KEYS[9] spans of the low lane
-- ARGV[1] fence of the caller    ARGV[2] claim id    ARGV[3] length of either stream, at most (about)
-- ARGV[4] id of the claim that takes over the rest, '' if there is no rest
-- ARGV[5] ranges of the rest, as a claim has them and in its order
-- ARGV[6] number of jobs to try again, then for each: due time in Unix ms, "lane|flow|job"
-- ARGV[...] then for each buried job the twelve arguments of shards/lua/settle.lua
-- returns 1 settled, 0 settled before, -1 the caller's fence is not the shard's

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return -1
end
local claim = redis.call('HGET', KEYS[2], ARGV[2])
if not claim then
  return 0
end
redis.call('HDEL', KEYS[2], ARGV[2])
if ARGV[4] ~= '' then
  redis.call('HSET', KEYS[2], ARGV[4], ARGV[5])
end

local RANGE = '(%l+)|(%S-)|(%-?%d+)|(%d+)'
-- what is left out of a run: pairs of first and past, in order
local kept = {}
for lane, flow, first, count in string.gmatch(ARGV[5], RANGE) do
  local of = lane .. '|' .. flow
  kept[of] = kept[of] or {}
  table.insert(kept[of], {tonumber(first), first + count})
end

local lanes = {
  high = {ring = KEYS[6], spans = KEYS[8], flows = {}, done = {}},
  low = {ring = KEYS[7], spans = KEYS[9], flows = {}, done = {}},
}
for name, flow, first, count in string.gmatch(claim, RANGE) do
  local lane = lanes[name]
  local done = lane.done[flow]
  if not done then
    done = {}
    lane.done[flow] = done
    lane.flows[#lane.flows + 1] = flow
  end
  local at, past = tonumber(first), first + count
  for _, range in ipairs(kept[name .. '|' .. flow] or {}) do
    if range[1] >= at and range[2] <= past then
      if range[1] > at then
        done[#done + 1] = {at, range[1]}
      end
      at = range[2]
    end
  end
  if at < past then
    done[#done + 1] = {at, past}
  end
end
for _, lane in pairs(lanes) do
  if #lane.flows > 0 then
    local texts = redis.call('HMGET', lane.spans, unpack(lane.flows))
    local changed, gone = {}, {}
    for i, flow in ipairs(lane.flows) do
      local record = record_of(texts[i])
      local base = record.base
      for _, range in ipairs(lane.done[flow]) do
        settle_range(record, range[1], range[2])
      end
      if record.base > base then
        redis.call('LTRIM', lane.ring .. ':' .. flow, string.format('%d', record.base - base), '-1')
      end
      local text = spelled_record(record)
      if text then
        changed[#changed + 1] = flow
        changed[#changed + 1] = text
      else
        gone[#gone + 1] = flow
      end
    end
    if #changed > 0 then
      redis.call('HSET', lane.spans, unpack(changed))
    end
    if #gone > 0 then
      redis.call('HDEL', lane.spans, unpack(gone))
    end
  end
end

local first_dead = 7 + 2 * tonumber(ARGV[6])
for i = 7, first_dead - 1, 2 do
  redis.call('ZADD', KEYS[3], ARGV[i], ARGV[i + 1])
end
for i = first_dead, #ARGV, 12 do
  redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[3], '*',
    'tenant', ARGV[i], 'reason', ARGV[i + 1], 'at_ms', ARGV[i + 2], 'job', ARGV[i + 3], 'lane', ARGV[i + 4],
    'status', ARGV[i + 5], 'timestamp_ms', ARGV[i + 6], 'attempts', ARGV[i + 7], 'admitted_ms', ARGV[i + 8])
  if ARGV[i + 9] ~= '' then
    redis.call('XADD', KEYS[5], 'MAXLEN', '~', ARGV[3], '*',
      'tenant', ARGV[i], 'token', ARGV[i + 9], 'topic', ARGV[i + 10], 'environment', ARGV[i + 11],
      'reason', ARGV[i + 1], 'timestamp_ms', ARGV[i + 6])
  end
end
return 1
